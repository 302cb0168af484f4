#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/model/config.h"
#include "cllm/model/freeze.h"

namespace cllm::model {

/// How a tensor starts: Note [Initial weights] in initialize.h.
enum class Initial {
  kZero,
  kOne,
  kNormal,
  kResidualNormal,
  kUniform,
  kEmbedding,
  kCodes,
  kBasis,
  kLeading,
  kAdapter
};

/// What a tensor is for, by which optimizers treat it: a table or basis of the embeddings (one that
/// is the output layer too is an embedding), an output layer of its own, a matrix between
/// activations, or biases, gains and shifts.
enum class Role { kEmbedding, kHead, kHidden, kVector };

/// One named tensor and its place in every flat buffer that is laid out alike.
struct Tensor {
  std::string name;  ///< GPT-2's: "wte.weight", "h.0.attn.c_attn.weight", …; see `Layout`
  /// Of matrices that stand one below the other in it, the rows of each: queries, keys and values;
  /// gates and values of SwiGLU. Empty where it is one matrix.
  std::vector<std::size_t> pieces;
  std::size_t rows;     ///< out
  std::size_t columns;  ///< in; 1 for a vector
  Role role;
  Initial initial;
  std::size_t offset;  ///< of the first element, in floats; a multiple of 16
  bool is_trained = true;
  bool is_adapter = false;  ///< A or B of one

  std::size_t size() const { return rows * columns; }
  bool is_matrix() const { return role != Role::kVector; }
};

/// Tensors whose gradient becomes complete at one moment of backward, and so can be summed over
/// ranks together: a contiguous range of every flat buffer.
struct Group {
  std::string name;  ///< "head", "h.11", …, "h.0", "embeddings"
  std::size_t offset, size;
};

/// Indices into `Layout::tensors` of a norm's gains and shifts, where it has them.
struct NormTensors {
  std::optional<std::size_t> gain, shift;
};

/// Rows of the table of tokens, [first_row, first_row + rows), by indices into `Layout::tensors`: a
/// matrix (rows, C), or codes (rows, r) whose product with a basis (r, C) takes its place.
struct TableBand {
  std::size_t first_row, rows;
  std::size_t tensor;
  std::optional<std::size_t> basis;

  bool has(std::size_t row) const { return row >= first_row && row - first_row < rows; }
};

/// An adapter, by indices into `Layout::tensors`, and the rows of the matrix that it is for.
struct AdapterTensors {
  Projection target;
  std::size_t matrix;
  std::size_t first_row, rows;
  std::size_t a;  // (r, in): "h.0.attn.q_proj.lora_A"
  std::size_t b;  // (rows, r): "h.0.attn.q_proj.lora_B"
};

/// The same of one transformer layer. D is heads times head size, K that of keys, M what the MLP's
/// first matrix gives, F what its second takes.
struct LayerTensors {
  NormTensors ln_1;                           // (C)
  std::size_t c_attn_weight;                  // (D + 2K, C)
  std::optional<std::size_t> c_attn_bias;     // (D + 2K)
  std::optional<std::size_t> q_norm, k_norm;  // (d)
  std::size_t attn_proj_weight;               // (C, D)
  std::optional<std::size_t> attn_proj_bias;  // (C)
  NormTensors ln_2;                           // (C)
  std::size_t c_fc_weight;                    // (M, C)
  std::optional<std::size_t> c_fc_bias;       // (M)
  std::size_t mlp_proj_weight;                // (C, F)
  std::optional<std::size_t> mlp_proj_bias;   // (C)
};

/// The one table of names, shapes and offsets: parameters, gradients and the state of optimizers
/// are flat buffers of `flat_size` floats that share it (or have some of the tensors: places.h).
/// Tensors are listed as GPT-2 lists them, and lie in flat buffers in the order in which backward
/// completes their gradients; those that aren't trained lie behind all others, in the same order.
/// Immutable, so thread-safe.
class Layout {
 public:
  /// Throws Error for a model or a choice of frozen tensors that makes no sense.
  explicit Layout(const ModelConfig& config, const Freeze& freeze = {});

  /// With the usual sizes put in.
  const ModelConfig& config() const { return config_; }
  const Freeze& freeze() const { return freeze_; }
  std::span<const Tensor> tensors() const { return tensors_; }
  const Tensor& operator[](std::size_t index) const { return tensors_[index]; }

  /// The token embedding, band by band, which together are all V rows. One band: "wte.weight" (V,
  /// C), or, where it is factorised, "wte.codes" (V, r) and "wte.basis" (r, C). Bands of frequency
  /// are numbered: "wte.0.weight", "wte.1.codes", "wte.1.basis".
  std::span<const TableBand> embedding() const { return embedding_; }
  /// What the head multiplies with, in the same bands: "lm_head.weight", …, or the embedding's
  /// where they are tied.
  std::span<const TableBand> lm_head() const { return is_tied() ? embedding_ : lm_head_; }
  bool is_tied() const { return config_.parts.tied; }
  /// Whether the tensor is a band of the embedding; not whether it is a basis of one.
  bool is_table(std::size_t tensor) const;
  /// Whether the embedding's bands are trained: all or none are.
  bool trains_table() const { return tensors_[embedding_.front().tensor].is_trained; }
  /// The embedding's band that has the row.
  const TableBand& band_of(std::size_t row) const;
  std::optional<std::size_t> wpe() const { return wpe_; }  // (T, C) of learned positions
  const NormTensors& embedding_norm() const { return embedding_norm_; }  // (C)
  const LayerTensors& layer(std::size_t l) const { return layers_[l]; }
  const NormTensors& ln_f() const { return ln_f_; }  // (C)
  /// Those of a matrix: of c_attn up to three, for queries, keys and values, and of SwiGLU's c_fc
  /// up to two, in the order of their rows.
  std::span<const AdapterTensors> adapters_of(std::size_t matrix) const;

  /// The groups in the order in which backward completes them: the head (its matrices and the last
  /// norm), the layers from the last to the first, the embeddings (of positions, bases, the norm
  /// behind them; maybe none). The token embedding gets its inputs' part of the gradient when
  /// the last group is complete; where it isn't tied it has no other part, and lies in front of all
  /// groups: Note [Token rows] in gradient_accumulator.h. Of tensors that are trained alone; a
  /// group may have none.
  std::span<const Group> groups() const { return groups_; }

  /// The floats that a tensor of so many elements takes in a flat buffer: whole cache lines.
  static constexpr std::size_t aligned(std::size_t elements) {
    constexpr std::size_t kLine = 16;
    return (elements + kLine - 1) / kLine * kLine;
  }
  /// Floats of a flat buffer; a little more than parameter_count(), because tensors are aligned.
  std::size_t flat_size() const { return flat_size_; }
  std::size_t parameter_count() const { return parameter_count_; }
  /// The same of tensors that are trained: where those of a flat buffer end, and so the floats of a
  /// gradient.
  std::size_t trained_size() const { return trained_size_; }
  std::size_t trained_count() const { return trained_count_; }

 private:
  std::size_t add(std::string name, std::size_t rows, std::size_t columns, Role role,
                  Initial initial);
  NormTensors add_norm(const std::string& name);
  /// The bands of "wte" or "lm_head"; their matrices and codes begin with `initial`.
  std::vector<TableBand> add_table(const std::string& name, Role role, Initial matrix,
                                   Initial codes);
  LayerTensors add_layer(std::size_t l);
  void add_adapters(std::size_t l, const LayerTensors& t);
  /// Gives all tensors that are trained, or all others, their places behind those that have some.
  void place_all(bool trained, std::span<const std::size_t> layer_ends, std::size_t end_of_norm);
  void begin_group(std::string name);
  /// The same for a tensor, in the newest group if there is one.
  void place(std::size_t tensor);
  /// And for those of the tensors from `first` to before `end` that are trained, or not.
  void place(bool trained, std::size_t first, std::size_t end);
  /// And for bands' matrices and codes, or their bases.
  void place_tables(bool trained, std::span<const TableBand> bands);
  void place_bases(bool trained, std::span<const TableBand> bands);

  ModelConfig config_;
  Freeze freeze_;
  std::vector<Tensor> tensors_;
  std::vector<TableBand> embedding_, lm_head_;  // the latter empty where it is the former
  std::optional<std::size_t> wpe_;
  NormTensors embedding_norm_, ln_f_;
  std::vector<LayerTensors> layers_;
  std::vector<AdapterTensors> adapters_;  // by matrix
  std::vector<Group> groups_;
  std::size_t flat_size_ = 0, trained_size_ = 0;
  std::size_t parameter_count_ = 0, trained_count_ = 0;
};

}  // namespace cllm::model
