#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace cllm {

/// A whole file, read-only, mapped into memory. Move-only; reading is thread-safe.
/// An empty file maps to an empty span. Throws Error (naming the file) when it can't be opened.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The whole file as a string. Throws Error (naming the file) when it can't be read.
std::string read_file(const std::filesystem::path& path);

/// A file that appears whole or not at all: it is written under another name in the same directory,
/// and `commit` gives it its own. Else the destructor throws it away, and what was there stays. One
/// thread at a time. Errors name the file as it is to be called.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Where to write it. Nothing is there yet.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// Call it when all is written; what is then looked at is what a crash would leave. Throws Error.
  void sync();
  /// After `sync`: renames the file, and syncs the directory. Throws Error; the file is then not
  /// there, or whole where only the directory could not be synced.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::string kind_;  // what fail points call it
};

/// Writes an AtomicFile of bytes that are at hand. Throws Error naming `path`.
void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

/// Removes from `directory` what the AtomicFiles of programs that were killed left there. Nobody
/// may be writing into it. What can't be removed stays.
void remove_unfinished(const std::filesystem::path& directory);

/// Creates `path` and its parents where they are missing. Throws Error naming `path`.
void make_directories(const std::filesystem::path& path);

}  // namespace cllm
