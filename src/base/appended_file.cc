#include "cllm/base/appended_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "cllm/base/error.h"

namespace cllm {

AppendedFile::AppendedFile(const std::filesystem::path& path)
    : path_(path),
      descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail("cannot write {}: {}", path_.string(), std::strerror(errno));
}

AppendedFile::AppendedFile(AppendedFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      waiting_(std::move(other.waiting_)),
      problem_(std::move(other.problem_)) {}

AppendedFile& AppendedFile::operator=(AppendedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(waiting_, other.waiting_);
  std::swap(problem_, other.problem_);
  return *this;
}

AppendedFile::~AppendedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendedFile::append(std::string_view piece) {
  waiting_ += piece;
  write_waiting();
}

void AppendedFile::write_waiting() {
  if (waiting_.empty()) return;
  const off_t end = ::lseek(descriptor_, 0, SEEK_END);
  const ssize_t put = ::write(descriptor_, waiting_.data(), waiting_.size());
  if (put == std::ssize(waiting_)) {
    waiting_.clear();
    problem_.clear();
    return;
  }
  problem_ = fmt::format("cannot write {}: {}; free some space", path_.string(),
                         std::strerror(put < 0 ? errno : ENOSPC));
  // Half a piece is no use to anybody who reads.
  [[maybe_unused]] const int cut = ::ftruncate(descriptor_, end);
}

void AppendedFile::sync() const { ::fsync(descriptor_); }

}  // namespace cllm
