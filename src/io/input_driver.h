#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace cllm::io {

// Note [HDF5 and damaged files]
//
// Checksums find metadata that were damaged by chance. Where they are right and the metadata are
// wrong, HDF5 1.10 trusts addresses: its cache of neighbouring reads (the metadata accumulator)
// copies from outside of its buffer when address + size overflows. HDF5 therefore reads through a
// driver of ours, for which it keeps no such cache, and which reads nothing that lies outside of
// the file.

/// A file that HDF5 reads, and that can be read past it. Owns the descriptor and must outlive the
/// HDF5 file. Not thread-safe.
class InputFile {
 public:
  /// Throws Error when `path` can't be opened or is not a regular file.
  explicit InputFile(const std::filesystem::path& path);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  /// Makes H5Fopen with this file-access property list read here, whatever name it is given.
  /// Returns whether HDF5 accepted it.
  bool set_driver(hid_t file_access) const;

  std::uint64_t size() const { return size_; }

  /// Whether `size` bytes from `offset` on lie in the file.
  bool holds(std::uint64_t offset, std::uint64_t size) const {
    return offset <= size_ && size <= size_ - offset;
  }

  /// Fills `bytes`, all of which lie in the file. Returns the error number (errno), or 0.
  int read(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  int descriptor_;
  std::uint64_t size_ = 0;
};

}  // namespace cllm::io
