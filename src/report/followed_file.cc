#include "cllm/report/followed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "cllm/base/error.h"

namespace cllm::report {
namespace {

constexpr std::size_t kChunk = 1 << 18;

/// So many bytes before the place of reading tell whether the file is still the same: a file
/// system may give a new file the number of one that is gone.
constexpr std::size_t kTail = 64;

/// Closes itself.
struct Descriptor {
  explicit Descriptor(const std::filesystem::path& path)
      : number(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  const int number;
};

/// As many as there are, up to `size`.
ssize_t read_at(int descriptor, char* bytes, std::size_t size, off_t offset) {
  ssize_t got = 0;
  do {
    got = ::pread(descriptor, bytes, size, offset);
  } while (got < 0 && errno == EINTR);
  return got;
}

}  // namespace

void FollowedFile::read(const std::function<void()>& again,
                        const std::function<void(std::string_view)>& line) {
  const auto begin_anew = [&] {
    if (offset_ > 0) again();
    forget();
  };
  const Descriptor file(path_);
  if (file.number < 0) {
    // ESTALE: it was replaced on another host just now.
    if (errno == ENOENT || errno == ESTALE) return begin_anew();
    fail("cannot read {}: {}", path_.string(), std::strerror(errno));
  }
  struct stat status {};
  if (::fstat(file.number, &status) != 0) {
    fail("cannot read {}: {}", path_.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) fail("{} is not a regular file", path_.string());
  const bool is_same_file = status.st_dev == device_ && status.st_ino == inode_;
  if (!is_same_file || status.st_size < offset_ || is_other(file.number)) begin_anew();
  device_ = status.st_dev;
  inode_ = status.st_ino;
  std::vector<char> chunk(kChunk);
  for (;;) {
    const ssize_t got = read_at(file.number, chunk.data(), chunk.size(), offset_);
    if (got == 0 || (got < 0 && errno == ESTALE)) return;
    if (got < 0) fail("cannot read {}: {}", path_.string(), std::strerror(errno));
    offset_ += got;
    take({chunk.data(), static_cast<std::size_t>(got)}, line);
  }
}

bool FollowedFile::is_other(int descriptor) const {
  std::string now(tail_.size(), '\0');
  const off_t from = offset_ - static_cast<off_t>(tail_.size());
  const ssize_t got = read_at(descriptor, now.data(), now.size(), from);
  return got != static_cast<ssize_t>(tail_.size()) || now != tail_;
}

void FollowedFile::forget() {
  offset_ = 0;
  tail_.clear();
  pending_.clear();
  skips_ = false;
}

void FollowedFile::take(std::string_view bytes, const std::function<void(std::string_view)>& line) {
  tail_.append(bytes.substr(bytes.size() - std::min(bytes.size(), kTail)));
  tail_.erase(0, tail_.size() - std::min(tail_.size(), kTail));
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    if (!skips_ && pending_.size() + piece.size() > kLongestLine) {
      skips_ = true;
      pending_.clear();
    }
    if (!skips_) pending_.append(piece);
    if (end == bytes.npos) return;
    if (!skips_) line(pending_);
    skips_ = false;
    pending_.clear();
    bytes.remove_prefix(end + 1);
  }
}

}  // namespace cllm::report
