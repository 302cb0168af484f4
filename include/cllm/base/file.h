#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
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

/// Makes `path` appear whole or not at all: `write` fills a temporary file in the same directory,
/// which is then fsynced and renamed, and the directory fsynced. On any failure the temporary file
/// is removed and the error goes on; `path` is as it was, or whole where only the directory could
/// not be synced. `check`, if any, looks at the temporary file before the rename, and throws where
/// it is not what it should be. Throws Error naming `path`.
void write_atomically(
    const std::filesystem::path& path,
    const std::function<void(const std::filesystem::path& temporary)>& write,
    const std::function<void(const std::filesystem::path& temporary)>& check = nullptr);

/// The same for bytes that are at hand.
void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

/// Removes from `directory` what writers that were killed in `write_atomically` left there. Nobody
/// may be writing into it. What can't be removed stays.
void remove_unfinished(const std::filesystem::path& directory);

/// Creates `path` and its parents where they are missing. Throws Error naming `path`.
void make_directories(const std::filesystem::path& path);

}  // namespace cllm
