#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace cllm {

/// A file that grows by whole pieces, such as a log. What can't be written, as on a full disk,
/// waits for it to be possible again, and is never written in part. One thread at a time, but for
/// `sync`.
class AppendedFile {
 public:
  /// Opens or creates it. Throws Error naming the file.
  explicit AppendedFile(const std::filesystem::path& path);
  AppendedFile(AppendedFile&& other) noexcept;
  AppendedFile& operator=(AppendedFile&& other) noexcept;
  ~AppendedFile();

  /// Never throws for what the disk does.
  void append(std::string_view piece);
  /// Writes the pieces that wait, if that is possible now.
  void write_waiting();
  /// Puts on the disk what was written. Thread-safe.
  void sync() const;

  /// What waits, and why, as a sentence; both empty where nothing does.
  const std::string& waiting() const { return waiting_; }
  const std::string& problem() const { return problem_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string waiting_;
  std::string problem_;
};

}  // namespace cllm
