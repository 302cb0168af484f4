#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/base/digest.h"
#include "cllm/io/hdf5.h"

namespace cllm::io {

/// Keeps HDF5 from printing its errors in this thread.
void silence_hdf5();

/// Why the last HDF5 call of this thread failed: the system's words for an error number where
/// there was one, else HDF5's own.
std::string hdf5_reason();

/// What our drivers for HDF5's files have in common; each has a pointer to its file as information.
H5FD_class_t basic_driver(const char* name);

/// The extent of an open dataset; empty for a scalar.
std::vector<std::uint64_t> shape_of(const Handle& dataset);

/// A type as messages and `DatasetInfo` call it.
std::string type_name(const Handle& type);

/// A string of fixed length, as the writer makes them.
bool is_text(const Handle& type);

/// Data pass the digest and the check for finite values in blocks of this size, so that they come
/// from memory once and then from the cache. A multiple of what any value takes.
inline constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

/// What is to be known of a dataset's data, which are shown to it block by block.
class BlockCheck {
 public:
  /// `floats`: whether the data are float32, whose values are to be looked at.
  explicit BlockCheck(bool floats) : floats_(floats) {}

  /// The next at most `kBlockBytes` bytes, of whole values.
  void update(std::span<const std::byte> block);

  std::string digest() const { return digest_.hex(); }
  /// False when a value was infinite or NaN.
  bool is_finite() const { return finite_; }

 private:
  Digest digest_;
  bool floats_;
  bool finite_ = true;
};

/// What the digest of a file covers: its attributes and datasets, one line each. The file keeps its
/// digest as an attribute of the root, `kDigestAttribute`. docs/checkpoint_format.md has the text.
class Manifest {
 public:
  void add(const std::string& object, const std::string& attribute, std::uint64_t value);
  void add(const std::string& object, const std::string& attribute, std::string_view text);
  void add(const std::string& dataset, const DatasetInfo& info);

  /// Of all lines, sorted by their bytes.
  std::string digest() const;

 private:
  std::vector<std::string> lines_;
};

}  // namespace cllm::io
