#include "cllm/model/gradient.h"

#include <algorithm>

namespace cllm::model {
namespace {

constexpr std::size_t kTileColumns = 768;
constexpr std::size_t kTileFloats = 384 * kTileColumns;
constexpr std::size_t kTileRowsMultiple = 16;

}  // namespace

Tiling::Tiling(const Layout& layout) : scratch_(kLayerVectors * layout.config().channels) {
  for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
    const Tensor& tensor = layout[index];
    first_.push_back(tiles_.size());
    const std::size_t rows = tensor.is_matrix ? tensor.rows : 1;
    const std::size_t columns = tensor.is_matrix ? tensor.columns : tensor.size();
    const std::size_t width = tensor.is_matrix ? std::min(columns, kTileColumns) : columns;
    const std::size_t height =
        std::max(kTileFloats / width / kTileRowsMultiple, std::size_t{1}) * kTileRowsMultiple;
    for (std::size_t row = 0; row < rows; row += height) {
      for (std::size_t column = 0; column < columns; column += width) {
        tiles_.push_back(
            {index, row, column, std::min(height, rows - row), std::min(width, columns - column)});
        scratch_ = std::max(scratch_, tiles_.back().size());
      }
    }
  }
  first_.push_back(tiles_.size());
}

}  // namespace cllm::model
