#include "cllm/base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"

namespace cllm {
namespace {

std::string contents(int descriptor) {
  char text[256];
  const ssize_t size = ::pread(descriptor, text, sizeof(text), 0);
  return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : "another process";
}

/// Whether `path` still is the open file, and not one that took its place after its holder left.
bool is_same_file(int descriptor, const std::filesystem::path& path) {
  struct stat opened {
  }, named{};
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path) : path_(path) {
  do {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      const std::string holder = contents(descriptor_);
      ::close(std::exchange(descriptor_, -1));
      if (error == EWOULDBLOCK) {
        fail("{} is held by {}; wait until that has ended, or use another directory", path.string(),
             holder);
      }
      return;  // a file system without locks
    }
  } while (!is_same_file(descriptor_, path));
  const std::string holder = fmt::format("process {} on host {}", ::getpid(), host_name());
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, holder.data(), holder.size(), 0) < 0) {
    return;  // on a full disk the holder stays nameless
  }
}

FileLock::FileLock(FileLock&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  if (is_same_file(descriptor_, path_)) ::unlink(path_.c_str());
  ::close(descriptor_);
}

}  // namespace cllm
