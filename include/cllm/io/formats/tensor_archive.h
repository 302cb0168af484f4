#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/io/formats/element_type.h"

namespace cllm::io {

/// A tensor in a file of another program. `bytes` is a view of the file, which is long enough for
/// type and shape; its values aren't looked at.
struct StoredTensor {
  std::optional<ElementType> type;   ///< none where it isn't one that weights have
  std::string type_name;             ///< as the file has it: "BF16", "I64"
  std::vector<std::uint64_t> shape;  ///< outermost first
  std::span<const std::byte> bytes;
  std::string file;  ///< that holds it

  /// Numbers in it.
  std::uint64_t size() const;
};

/// The tensors of one file or of several, by name. Move-only; reading is thread-safe.
struct TensorArchive {
  std::map<std::string, StoredTensor> tensors;
  std::vector<MappedFile> files;  ///< that the tensors are views of
};

/// "(3, 4)".
std::string shape_in_words(std::span<const std::uint64_t> shape);

/// Throws Error where a tensor's name has control characters, which no message could show.
void require_plain_name(const std::string& name, const std::string& file);

/// A tensor that is to be written, which is made row by row, in order. A vector is one row.
struct OutgoingTensor {
  std::string name;
  ElementType type;
  std::vector<std::uint64_t> shape;  ///< outermost first
  /// Fills row `row`, of shape.back() floats.
  std::function<void(std::size_t row, std::span<float> values)> fill;

  std::uint64_t rows() const { return shape.size() == 1 ? 1 : shape.front(); }
  std::uint64_t columns() const { return shape.back(); }
  std::uint64_t bytes() const { return rows() * bytes_of(type, columns()); }
};

}  // namespace cllm::io
