#include "cllm/base/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "cllm/base/processors.h"

namespace cllm {
namespace {

namespace fs = std::filesystem;

/// From linux/magic.h: there, space that is taken is memory, which takes time to clear.
constexpr auto kMemoryFileSystem = 0x01021994;

/// Whether the file system, or a quota that it doesn't count among its free space, refuses to
/// reserve the bytes. Nobody else can tell, so false where it can't either.
bool refuses(const fs::path& directory, std::uint64_t bytes) {
  struct statfs status {};
  if (::statfs(directory.c_str(), &status) != 0 || status.f_type == kMemoryFileSystem) return false;
  // Left behind, it goes with other unfinished files.
  const fs::path path = directory / fmt::format(".room.{}.{}.cllm-tmp", host_name(), ::getpid());
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return false;
  const bool is_refused = ::fallocate(file, 0, 0, static_cast<off_t>(bytes)) != 0 &&
                          (errno == ENOSPC || errno == EDQUOT);
  ::close(file);
  ::unlink(path.c_str());
  return is_refused;
}

}  // namespace

std::string bytes_text(double bytes) {
  // Three figures, and never an exponent.
  const auto figures = [](double x) {
    return fmt::format("{:.{}f}", x, x < 9.995 ? 2 : x < 99.95 ? 1 : 0);
  };
  if (bytes < 0.9995e6) return fmt::format("{:.0f} kB", bytes / 1e3);
  if (bytes < 0.9995e9) return figures(bytes / 1e6) + " MB";
  return figures(bytes / 1e9) + " GB";
}

std::uint64_t free_bytes(const fs::path& directory) {
  std::error_code unknown;
  const fs::space_info space = fs::space(directory, unknown);
  return unknown ? std::numeric_limits<std::uint64_t>::max() : space.available;
}

std::string lack_of_room(const fs::path& directory, std::uint64_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes) {
    return fmt::format("no file may be larger than {} (ulimit -f)",
                       bytes_text(static_cast<double>(limit.rlim_cur)));
  }
  if (const std::uint64_t free = free_bytes(directory); free < bytes) {
    return fmt::format("only {} are free", bytes_text(static_cast<double>(free)));
  }
  return refuses(directory, bytes) ? "the disk or your quota has less left" : "";
}

}  // namespace cllm
