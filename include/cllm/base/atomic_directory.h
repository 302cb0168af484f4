#pragma once

#include <filesystem>

namespace cllm {

/// A directory that appears whole or not at all, as an AtomicFile does (file.h): files are written
/// into `temporary()`, which is there, and `commit` gives it its name. Nothing may be at `path`
/// yet. One thread at a time. Errors name the directory as it is to be called.
class AtomicDirectory {
 public:
  /// Throws Error where the temporary directory can't be made.
  explicit AtomicDirectory(std::filesystem::path path);
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  /// Throws away what was written and not committed.
  ~AtomicDirectory();

  const std::filesystem::path& temporary() const { return temporary_; }
  /// Call it when all files are written and synced. Throws Error; the directory is then not there,
  /// or whole where only its parent could not be synced.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

}  // namespace cllm
