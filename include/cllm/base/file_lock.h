#pragma once

#include <filesystem>

namespace cllm {

/// A lock that one process at a time can hold, on any host that sees the file. Ends with the
/// process, however that ends. Move-only.
class FileLock {
 public:
  FileLock() = default;
  /// Creates the file `path`, or takes one over that a dead process left, and writes into it who
  /// holds it. Throws Error that names the file and the holder while another process lives that
  /// holds it. Where the file system cannot lock, holds nothing.
  explicit FileLock(const std::filesystem::path& path);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  /// Removes the file.
  ~FileLock();

  bool is_held() const { return descriptor_ >= 0; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace cllm
