#include "cllm/model/gradient.h"

#include <algorithm>
#include <numeric>

namespace cllm::model {
namespace {

constexpr std::size_t kTileColumns = 768;
constexpr std::size_t kTileFloats = 384 * kTileColumns;
constexpr std::size_t kTileRowsMultiple = 16;

/// A tensor as it is cut: tiles of height x width, smaller ones at its ends.
struct Cut {
  std::size_t rows, columns;
  std::size_t height, width;

  std::size_t across() const { return (columns + width - 1) / width; }
};

Cut cut_of(const Tensor& tensor) {
  Cut cut{.rows = 1, .columns = tensor.size(), .height = 0, .width = tensor.size()};
  if (tensor.is_matrix()) {
    cut.rows = tensor.rows;
    cut.columns = tensor.columns;
    cut.width = std::min(tensor.columns, kTileColumns);
  }
  cut.height =
      std::max(kTileFloats / cut.width / kTileRowsMultiple, std::size_t{1}) * kTileRowsMultiple;
  return cut;
}

}  // namespace

TilingSizes tiling_sizes(const Layout& layout) {
  TilingSizes sizes{};
  for (const Tensor& tensor : layout.tensors()) {
    if (!tensor.is_trained) continue;
    const Cut cut = cut_of(tensor);
    sizes.rows += cut.rows * cut.across();
    sizes.largest = std::max(sizes.largest, std::min(cut.height, cut.rows) * cut.width);
    // A token's row is summed in the same place.
    if (tensor.is_matrix()) sizes.largest = std::max(sizes.largest, tensor.columns);
    sizes.longest = std::max(sizes.longest, cut.width);
  }
  return sizes;
}

std::size_t tiles_across(const Tensor& tensor) { return cut_of(tensor).across(); }

Tiling::Tiling(const Layout& layout) : sizes_(tiling_sizes(layout)) {
  for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
    const Cut cut = cut_of(layout[index]);
    first_.push_back(tiles_.size());
    if (!layout[index].is_trained) continue;
    for (std::size_t row = 0; row < cut.rows; row += cut.height) {
      for (std::size_t column = 0; column < cut.columns; column += cut.width) {
        tiles_.push_back({index, row, column, std::min(cut.height, cut.rows - row),
                          std::min(cut.width, cut.columns - column), 0});
      }
    }
  }
  first_.push_back(tiles_.size());

  std::vector<std::size_t> in_buffers(layout.tensors().size());
  std::iota(in_buffers.begin(), in_buffers.end(), std::size_t{0});
  std::ranges::sort(in_buffers, {}, [&](std::size_t tensor) { return layout[tensor].offset; });
  std::size_t row = 0;
  for (const std::size_t tensor : in_buffers) {
    for (std::size_t tile = first_of(tensor); tile < end_of(tensor); ++tile) {
      tiles_[tile].first_row = row;
      row += tiles_[tile].rows;
    }
  }
}

}  // namespace cllm::model
