#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/recorder.h"
#include "cllm/model/layout.h"

namespace cllm::model {

/// A rectangle of a tensor's gradient: what one thread computes and hands over at a time. Vectors
/// are one row.
struct Tile {
  std::size_t tensor;
  std::size_t row, column;
  std::size_t rows, columns;
  std::size_t first_row;  ///< of its rows among those of all tiles, in the order of flat buffers

  std::size_t size() const { return rows * columns; }
  /// Of the tensor's row `tensor_row`, among the rows of all tiles.
  std::size_t index_of(std::size_t tensor_row) const { return first_row + tensor_row - row; }
};

/// What a tiling comes to, counted without making it.
struct TilingSizes {
  std::size_t rows = 0;     ///< of all tiles; each is a contiguous piece of a flat buffer
  std::size_t largest = 0;  ///< floats of the largest tile, or of a tensor's row if that is longer
  std::size_t longest = 0;  ///< floats of the longest row
};
TilingSizes tiling_sizes(const Layout& layout);
/// Tiles that lie beside each other in a tensor.
std::size_t tiles_across(const Tensor& tensor);

/// Note [Tiles]
///
/// A micro-batch's gradient of a matrix is computed tile by tile, each over all rows of the
/// micro-batch at once. So a thread holds one tile, never a model; threads that share a micro-batch
/// share its tiles without waiting for each other; what a tile holds depends on the micro-batch
/// alone, whoever computes it; and a tile goes to the node's sum while it is in the second cache
/// level. Its size is a compromise: the larger, the less the product packs its operands anew; the
/// smaller, the nearer the cache. (On a core with 2 MiB of second level, 384 x 768 reached 0.96 of
/// what one product of the whole matrix reaches, 192 x 768 0.92.) Tensors that aren't trained have
/// no tiles.
class Tiling {
 public:
  explicit Tiling(const Layout& layout);

  std::span<const Tile> tiles() const { return tiles_; }
  const Tile& operator[](std::size_t index) const { return tiles_[index]; }
  std::size_t tensors() const { return first_.size() - 1; }
  /// The first tile of a tensor; those of the next tensor begin where its own end.
  std::size_t first_of(std::size_t tensor) const { return first_[tensor]; }
  std::size_t end_of(std::size_t tensor) const { return first_[tensor + 1]; }
  std::size_t rows() const { return sizes_.rows; }
  std::size_t largest() const { return sizes_.largest; }
  std::size_t longest_row() const { return sizes_.longest; }

 private:
  std::vector<Tile> tiles_;
  std::vector<std::size_t> first_;  // per tensor, and one past the last
  TilingSizes sizes_;
};

/// Parts of the vocabulary whose rows of the embedding gradient are handed over together.
inline constexpr std::size_t kTokenRanges = 8;

/// Takes a micro-batch's gradient as it is computed. Threads of a team call it at once, for
/// distinct tiles and ranges.
class GradientSink {
 public:
  virtual ~GradientSink() = default;

  /// Adds `values` (tile.rows, tile.columns), rows `stride` apart, to the tile's gradient. The
  /// head's matrices or codes come in several passes, one for each piece of rows that the head
  /// takes; every other tile in pass 0 alone.
  virtual void add(std::size_t tile, std::size_t pass, const float* values, std::size_t stride,
                   Recorder& recorder) = 0;

  /// What the micro-batch's inputs add to the token embedding: between begin_tokens and end_tokens
  /// of a range its tokens in the order of their rows in the micro-batch, each with its row,
  /// as wide as its band of the embedding. Every range comes once.
  virtual void begin_tokens(std::size_t range, Recorder& recorder) = 0;
  virtual void add_token(std::uint32_t token, const float* row) = 0;
  virtual void end_tokens(std::size_t range) = 0;
};

}  // namespace cllm::model
