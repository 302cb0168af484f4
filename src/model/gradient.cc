#include "cllm/model/gradient.h"

#include <algorithm>
#include <numeric>

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
        tiles_.push_back({index, row, column, std::min(height, rows - row),
                          std::min(width, columns - column), 0});
        scratch_ = std::max(scratch_, tiles_.back().size());
      }
    }
  }
  first_.push_back(tiles_.size());

  std::vector<std::size_t> in_slabs(layout.tensors().size());
  std::iota(in_slabs.begin(), in_slabs.end(), std::size_t{0});
  std::ranges::sort(in_slabs, {}, [&](std::size_t tensor) { return layout[tensor].offset; });
  for (const std::size_t tensor : in_slabs) {
    for (std::size_t tile = first_of(tensor); tile < end_of(tensor); ++tile) {
      tiles_[tile].first_row = rows_;
      rows_ += tiles_[tile].rows;
    }
  }
}

}  // namespace cllm::model
