#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace cllm::report {

/// A file of lines that another process appends to, or replaces by a shorter one, read as it grows.
/// It is opened anew each time, so that what another host wrote is seen over NFS, and never locked.
/// Not thread-safe.
class FollowedFile {
 public:
  /// Longer lines are passed over: bytes.
  static constexpr std::size_t kLongestLine = 1 << 20;

  explicit FollowedFile(std::filesystem::path path) : path_(std::move(path)) {}

  /// Calls `line` with each whole line, without its end, that is there since the last call. Where
  /// the file is no longer the one that was read, or has become shorter, calls `again` first and
  /// begins anew. A file that isn't there has no lines. Throws Error naming the file where it can't
  /// be read.
  void read(const std::function<void()>& again, const std::function<void(std::string_view)>& line);

 private:
  bool is_other(int descriptor) const;
  void forget();
  void take(std::string_view bytes, const std::function<void(std::string_view)>& line);

  std::filesystem::path path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  off_t offset_ = 0;     // of what was read
  std::string tail_;     // the last bytes before it
  std::string pending_;  // of a line whose end has not come
  bool skips_ = false;   // the rest of a line that is too long
};

}  // namespace cllm::report
