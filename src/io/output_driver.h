#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace cllm::io {

// Note [HDF5 and failing writes]
//
// When HDF5 1.10 cannot write its metadata (full disk, quota, file size limit), H5Fclose crashes
// or leaves the file open, so that its space stays taken although it was removed. HDF5 therefore
// writes through a driver of ours that never reports a failed write: `OutputFile` keeps the first
// error number, HDF5 finishes and closes in good order, and the owner asks `error()` before it
// believes that the file is whole. The bytes are those of HDF5's default driver.

/// A new, empty file that HDF5 writes into. Owns the descriptor and must outlive the HDF5 file.
/// Not thread-safe.
class OutputFile {
 public:
  /// Creates or empties `path`; `error()` tells whether that worked.
  explicit OutputFile(const std::filesystem::path& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  /// Makes H5Fcreate with this file-access property list write here, whatever name it is given.
  /// Returns whether HDF5 accepted it.
  bool set_driver(hid_t file_access);

  /// Puts bytes at their place, also those of datasets past HDF5; after an error it does nothing.
  void write(std::uint64_t offset, std::span<const std::byte> bytes);

  /// Puts on the disk what was written; some file systems tell only then of a full one.
  void sync();

  /// The number (errno) of the first failure since creation, or 0.
  int error() const { return error_; }

 private:
  friend struct OutputDriver;
  bool is_good() const { return error_ == 0; }
  /// Lets the disk begin with what was written, so that the sync at the end has little to wait for.
  void start_write_back();

  int descriptor_;
  int error_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t written_back_ = 0;  ///< the system was told to write the file up to here
};

}  // namespace cllm::io
