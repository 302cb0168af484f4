#include "cllm/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/processors.h"

namespace cllm {
namespace {

/// How the names of files that are being written end; they begin with a dot.
constexpr std::string_view kUnfinished = ".cllm-tmp";

/// A file descriptor that closes itself. Opening a pipe that nobody writes does not wait.
class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0666)) {
    if (fd_ < 0) fail("cannot open {}: {}", path.string(), std::strerror(errno));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::size_t size_of_regular_file(const Descriptor& file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail("cannot read {}: {}", path.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) fail("{} is not a regular file", path.string());
  return static_cast<std::size_t>(status.st_size);
}

/// Syncs what is at `place`; errors name `path`, for which it is done.
void sync(const std::filesystem::path& place, int flags, const std::filesystem::path& path) {
  const Descriptor file(place, flags);
  if (::fsync(file.get()) != 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY);
  size_ = size_of_regular_file(file, path);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) fail("cannot map {}: {}", path.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string read_file(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY);
  std::string text(size_of_regular_file(file, path), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read {}: {}", path.string(), std::strerror(errno));
    if (got == 0) fail("{} became shorter while it was read", path.string());
    done += static_cast<std::size_t>(got);
  }
  return text;
}

void write_atomically(const std::filesystem::path& path,
                      const std::function<void(const std::filesystem::path&)>& write,
                      const std::function<void(const std::filesystem::path&)>& check) {
  // Host and process keep two writers of one path apart; the rename decides between them.
  const std::filesystem::path temporary =
      path.parent_path() /
      fmt::format(".{}.{}.{}{}", path.filename().string(), host_name(), ::getpid(), kUnfinished);
  // "h5" of checkpoints; of a file without an extension its name.
  const std::string kind =
      path.has_extension() ? path.extension().string().substr(1) : path.filename().string();
  try {
    write(temporary);
    fail_point(kind + ".written");
    sync(temporary, O_RDONLY, path);
    fail_point(kind + ".synced");
    if (check) check(temporary);
    fail_point(kind + ".checked");
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      fail("cannot write {}: {}", path.string(), std::strerror(errno));
    }
    fail_point(kind + ".renamed");
    sync(path.has_parent_path() ? path.parent_path() : ".", O_RDONLY | O_DIRECTORY, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_atomically(path, [&](const std::filesystem::path& temporary) {
    const Descriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t put = ::write(file.get(), bytes.data() + done, bytes.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
      done += static_cast<std::size_t>(put);
    }
    // Some file systems tell of a full disk only now, and only here.
    if (::fsync(file.get()) != 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  });
}

void remove_unfinished(const std::filesystem::path& directory) {
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(directory, code)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (name.starts_with('.') && name.ends_with(kUnfinished)) {
      std::filesystem::remove(entry.path(), ignored);
    }
  }
}

void make_directories(const std::filesystem::path& path) {
  std::error_code code;
  if (std::filesystem::create_directories(path, code)) {
    const std::filesystem::path parent = std::filesystem::absolute(path).parent_path();
    sync(parent, O_RDONLY | O_DIRECTORY, path);
  }
  if (code) fail("cannot create the directory {}: {}", path.string(), code.message());
}

}  // namespace cllm
