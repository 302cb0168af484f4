#include "cllm/model/gradient.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace cllm::model {
namespace {

constexpr ModelConfig kShapes[] = {
    {.layers = 1, .heads = 1, .channels = 1, .context = 1, .vocabulary = 1},
    {.layers = 2, .heads = 3, .channels = 48, .context = 7, .vocabulary = 1000},
    {.layers = 1, .heads = 2, .channels = 770, .context = 400, .vocabulary = 777},
    {.layers = 1, .heads = 1, .channels = 1600, .context = 5, .vocabulary = 97},
    {.layers = 1,
     .heads = 1,
     .channels = 800,
     .context = 5,
     .vocabulary = 900,
     .embedding_rank = 769}};

TEST(Tiling, CoversEachElementOnceInRowsThatFollowEachOther) {
  for (const ModelConfig& shape : kShapes) {
    const Layout layout(shape);
    const Tiling tiling(layout);
    std::vector<int> covered(layout.flat_size()), rows(tiling.rows());
    for (const Tile& tile : tiling.tiles()) {
      const Tensor& tensor = layout[tile.tensor];
      const std::size_t width = tensor.is_matrix() ? tensor.columns : tensor.size();
      for (std::size_t row = tile.row; row < tile.row + tile.rows; ++row) {
        rows.at(tile.index_of(row)) += 1;
        for (std::size_t i = 0; i < tile.columns; ++i) {
          covered.at(tensor.offset + row * width + tile.column + i) += 1;
        }
      }
    }
    EXPECT_EQ(std::ranges::count(rows, 1), static_cast<std::ptrdiff_t>(rows.size()));
    for (const Tensor& tensor : layout.tensors()) {
      for (std::size_t i = 0; i < tensor.size(); ++i) ASSERT_EQ(covered[tensor.offset + i], 1);
    }
  }
}

TEST(Tiling, IsCountedAsItIsMade) {
  for (const ModelConfig& shape : kShapes) {
    const Layout layout(shape);
    const Tiling tiling(layout);
    const TilingSizes sizes = tiling_sizes(layout);
    std::size_t rows = 0, largest = 0, longest = 0;
    for (const Tile& tile : tiling.tiles()) {
      rows += tile.rows;
      largest = std::max(largest, tile.size());
      longest = std::max(longest, tile.columns);
    }
    EXPECT_EQ(sizes.rows, rows);
    EXPECT_EQ(sizes.longest, longest);
    EXPECT_EQ(sizes.largest, largest);
    const Tile& first = tiling[tiling.first_of(layout.embedding().front().tensor)];
    const std::size_t beside = static_cast<std::size_t>(std::ranges::count_if(
        tiling.tiles(), [&](const Tile& t) { return t.tensor == first.tensor && t.row == 0; }));
    EXPECT_EQ(tiles_across(layout[layout.embedding().front().tensor]), beside);
  }
}

}  // namespace
}  // namespace cllm::model
