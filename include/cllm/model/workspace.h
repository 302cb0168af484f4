#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/model/config.h"

namespace cllm::model {

/// A copy of the token table whose rows lie in another order. Views.
struct InputTable {
  const float* rows;            ///< (V, table width)
  const std::uint32_t* row_of;  ///< (V): where a token's row is in it
};

/// A micro-batch: sequences that go through forward and backward together. Views; the tokens live
/// elsewhere.
struct MicroBatch {
  const std::uint32_t* inputs;   ///< (sequences, positions)
  const std::uint32_t* targets;  ///< (sequences, positions): the token that follows each input
  std::size_t sequences;
  std::size_t positions;  ///< at most the model's context
  /// Where the inputs' rows are looked up; null: in the parameters. Their gradient is given in the
  /// order of these rows.
  const InputTable* input_table = nullptr;

  /// Of the table in which inputs are looked up.
  std::size_t row_of(std::uint32_t token) const {
    return input_table == nullptr ? token : input_table->row_of[token];
  }
  std::size_t rows() const { return sequences * positions; }
};

/// The activations of one layer, for R = rows of the micro-batch. Views into a Workspace.
struct LayerActivations {
  float* input;                   ///< (R, C): the residual stream that enters the layer
  float *ln_1, *mean_1, *rstd_1;  ///< (R, C), (R), (R)
  float* qkv;                     ///< (R, 3C): queries, keys, values
  float* log_sum_exp;             ///< (R, H) of the scores, a block of R per head
  float* attention;               ///< (R, C): heads side by side, before the projection
  float* middle;                  ///< (R, C): the residual stream between attention and MLP
  float *ln_2, *mean_2, *rstd_2;  ///< (R, C), (R), (R)
  float* fc;                      ///< (R, 4C): before GELU
  float* gelu;                    ///< (R, 4C)
};

enum class Purpose { kTraining, kEvaluation };

/// The size of the micro-batches that a workspace has room for.
struct MicroBatchShape {
  std::size_t sequences;
  std::size_t positions;
  /// Rows of a block: what one thread of a team takes through the rows' work at a time. Products
  /// are of one block each, so that their shapes, and with them their bits, don't depend on the
  /// team.
  std::size_t token_block;

  std::size_t rows() const { return sequences * positions; }
};

/// What a team needs to take micro-batches through the model, allocated once. Belongs to one team.
class Workspace {
 public:
  /// For evaluation all layers share one set of activations. Throws std::bad_alloc.
  Workspace(const ModelConfig& config, const MicroBatchShape& shape, Purpose purpose);

  std::size_t rows() const { return shape_.rows(); }
  std::size_t token_block() const { return shape_.token_block; }
  Purpose purpose() const { return purpose_; }
  /// Rows of the head that are taken at a time, so that logits stay bounded whatever V and R are.
  std::size_t head_rows() const { return head_rows_; }
  /// Rows of them that one thread of a team takes: a pass has as many blocks as a micro-batch.
  std::size_t head_block() const;
  /// How many passes that is for a micro-batch of `micro_batch_rows` in a workspace for
  /// micro-batches of `rows`.
  static std::size_t head_passes(const ModelConfig& config, std::size_t rows,
                                 std::size_t micro_batch_rows);
  /// Bytes that a workspace of these arguments allocates.
  static std::size_t bytes_for(const ModelConfig& config, const MicroBatchShape& shape,
                               Purpose purpose);

  std::vector<LayerActivations> layers;
  float* last;                    ///< (R, C): the residual stream after the last layer
  float *ln_f, *mean_f, *rstd_f;  ///< (R, C), (R), (R)
  float* branch;                  ///< (R, C): output of attention or MLP before it is added
  float* codes;                   ///< (R, r): the inputs' rows of a reduced table; else none
  /// (R, table width): what the head multiplies the table with, which is ln_f unless it is reduced.
  float* projected;
  float* logits;  ///< (head_rows, V)
  float* losses;  ///< (R)

  // Backward. While some threads of a team go on with the next layer, others still compute weight
  // gradients of this one; what these read has two places, used in turn.
  float* dresidual[2];  ///< (R, C): gradient of a layer's output
  float* dmiddle[2];    ///< (R, C): of the residual stream between attention and MLP
  float* dhidden[2];    ///< (R, 4C): of `fc`
  float* dqkv;          ///< (R, 3C)
  float* dnorm;         ///< (R, C)
  float* dprojected;    ///< (R, table width); dnorm unless the table is reduced
  float* dtable_rows;   ///< (R, table width): of the inputs' rows; dresidual[0] unless reduced
  /// (L + 1, blocks, 13C): each block's sum for the gradients of a layer's vectors (biases and
  /// norms), side by side as the layer lists them; the last norm's come last.
  float* vectors;
  std::uint64_t*
      token_order;  ///< (R): row of the input table << 32 | row of the micro-batch, ascending

 private:
  Workspace() = default;
  /// Points every view into `base`, or to nothing where it is null; returns the floats needed.
  std::size_t place(const ModelConfig& config, float* base);

  AlignedBuffer<float> buffer_;
  AlignedBuffer<std::uint64_t> order_;
  MicroBatchShape shape_{};
  Purpose purpose_ = Purpose::kTraining;
  std::size_t head_rows_ = 0;
};

/// What each thread of a team needs for itself, allocated once.
class Scratch {
 public:
  /// `positions` of a micro-batch's sequences, `tile` floats of the largest gradient tile.
  /// Throws std::bad_alloc.
  Scratch(std::size_t positions, std::size_t tile, Purpose purpose);

  static std::size_t bytes_for(std::size_t positions, std::size_t tile, Purpose purpose);

  float* scores;   ///< (query block, T)
  float* dscores;  ///< (query block, T)
  float* delta;    ///< (query block)
  float* tile;     ///< one gradient tile, or vectors of a layer

 private:
  Scratch() = default;
  std::size_t place(std::size_t positions, std::size_t tile_floats, Purpose purpose, float* base);

  AlignedBuffer<float> buffer_;
};

}  // namespace cllm::model
