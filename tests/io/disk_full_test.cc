#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "checkpoint_fixture.h"
#include "cllm/base/file.h"

namespace cllm::io {
namespace {

using testing::HasSubstr;

/// Makes writes beyond a file size fail, for as long as it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t size) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{size, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

/// Whether the directory is as it was: it holds `files` files, and nothing is left open.
void expect_clean(const std::filesystem::path& directory, int files, std::size_t descriptors) {
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), files);
  EXPECT_EQ(open_descriptors(), descriptors);
}

/// Many tensors, so that HDF5's metadata outweigh the data and meet the limit themselves.
constexpr model::ModelConfig kDeepModel{
    .layers = 40, .heads = 1, .channels = 2, .context = 2, .vocabulary = 2};
/// Few and large ones: the data meet it.
constexpr model::ModelConfig kWideModel{
    .layers = 1, .heads = 2, .channels = 64, .context = 64, .vocabulary = 200};

class DiskFullTest : public testing::TestWithParam<model::ModelConfig> {
 protected:
  support::ScratchDirectory directory_;
};

INSTANTIATE_TEST_SUITE_P(Models, DiskFullTest, testing::Values(kDeepModel, kWideModel));

// The file must fail at whatever byte writing stops. The suite counts places in CLLM_IO_LIMITS.
TEST_P(DiskFullTest, ALimitOnFileSizeIsOneErrorAndLeavesNothing) {
  const std::filesystem::path path = directory_.path() / "step-00000001.h5";
  const Content content = random_content(GetParam(), 1);
  content.write(path);
  const std::uintmax_t whole = std::filesystem::file_size(path);
  std::filesystem::remove(path);

  const std::size_t descriptors = open_descriptors();
  const std::uint64_t limits = support::count_from_environment("CLLM_IO_LIMITS", 20);
  for (std::uint64_t i = 0; i <= limits; ++i) {
    const rlim_t limit = i == limits ? whole - 1 : whole * i / limits;
    const std::string message = error_of(path, [&] {
      const FileSizeLimit limited(limit);
      content.write(path);
    });
    EXPECT_THAT(message, HasSubstr("File too large")) << "limit " << limit;
    EXPECT_THAT(message, HasSubstr("ulimit -f"));
    expect_clean(directory_.path(), 0, descriptors);
  }
  {
    // HDF5 reserves some room for metadata that it gives back at the end.
    const FileSizeLimit limited(whole + 65536);
    content.write(path);
  }
  EXPECT_TRUE(same_bits(read_all(path, GetParam()), content));
}

constexpr std::size_t kDiskSize = std::size_t{4} << 20;

/// Mounts a small disk that only the calling thread sees. Returns what went wrong, if anything.
std::string mount_disk(const std::filesystem::path& at) {
  const std::string options = fmt::format("size={}", kDiskSize);
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", at.c_str(), "tmpfs", 0, options.c_str()) != 0) {
    return std::strerror(errno);
  }
  return {};
}

TEST_P(DiskFullTest, AFullDiskIsOneErrorAndLeavesTheOlderFile) {
  const std::filesystem::path disk = directory_.path() / "disk";
  std::filesystem::create_directory(disk);
  std::string obstacle;
  const auto fill_disk = [&] {
    obstacle = mount_disk(disk);
    if (!obstacle.empty()) return;
    const std::filesystem::path path = disk / "step-00000001.h5";
    const Content older = random_content(GetParam(), 2), newer = random_content(GetParam(), 3);
    older.write(path);
    const std::uintmax_t size = std::filesystem::file_size(path);
    ASSERT_LT(3 * size, kDiskSize);
    const std::filesystem::path filling = disk / "filling";
    // Leaves two thirds of the room that a second file needs.
    const std::vector<std::byte> bytes(kDiskSize - size - 2 * size / 3);
    write_atomically(filling, bytes);

    const std::size_t descriptors = open_descriptors();
    for (int attempt = 0; attempt < 3; ++attempt) {
      const std::string message = error_of(path, [&] { newer.write(path); });
      EXPECT_THAT(message, HasSubstr("No space left on device"));
      EXPECT_THAT(message, HasSubstr("--out"));
      expect_clean(disk, 2, descriptors);
    }
    EXPECT_TRUE(same_bits(read_all(path, GetParam()), older));
    std::filesystem::remove(filling);
    newer.write(path);  // and goes on once there is room
    EXPECT_TRUE(same_bits(read_all(path, GetParam()), newer));
  };
  std::thread([&] {
    try {
      fill_disk();
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }).join();
  if (!obstacle.empty()) GTEST_SKIP() << "mounting a small disk needs root: " << obstacle;
}

}  // namespace
}  // namespace cllm::io
