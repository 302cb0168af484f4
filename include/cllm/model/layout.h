#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/model/config.h"

namespace cllm::model {

/// How a tensor starts (Radford et al., "Language Models are Unsupervised Multitask
/// Learners", 2.3). A factorised embedding's basis has orthonormal rows, and its codes are such
/// that their products are as large as the rows of a table (V, C) would be.
enum class Initial { kZero, kOne, kNormal, kResidualNormal, kCodes, kBasis };

/// What a tensor is for, by which optimizers treat it: a table or basis of the embeddings (one that
/// is the output layer too is an embedding), an output layer of its own, a matrix between
/// activations, or biases, gains and shifts.
enum class Role { kEmbedding, kHead, kHidden, kVector };

/// One named tensor and its place in every flat buffer that is laid out alike.
struct Tensor {
  std::string name;     ///< GPT-2's: "wte.weight", "h.0.attn.c_attn.weight", …; see `Layout`
  std::size_t rows;     ///< out
  std::size_t columns;  ///< in; 1 for a vector
  Role role;
  Initial initial;
  std::size_t offset;  ///< of the first element, in floats; a multiple of 16

  std::size_t size() const { return rows * columns; }
  bool is_matrix() const { return role != Role::kVector; }
};

/// Tensors whose gradient becomes complete at one moment of backward, and so can be summed over
/// ranks together: a contiguous range of every flat buffer.
struct Group {
  std::string name;  ///< "head", "h.11", …, "h.0", "embeddings"
  std::size_t offset, size;
};

/// Indices into `Layout::tensors` of one transformer layer.
struct LayerTensors {
  std::size_t ln_1_weight, ln_1_bias;            // (C)
  std::size_t c_attn_weight, c_attn_bias;        // (3C, C), (3C)
  std::size_t attn_proj_weight, attn_proj_bias;  // (C, C), (C)
  std::size_t ln_2_weight, ln_2_bias;            // (C)
  std::size_t c_fc_weight, c_fc_bias;            // (4C, C), (4C)
  std::size_t mlp_proj_weight, mlp_proj_bias;    // (C, 4C), (C)
};

/// The one table of names, shapes and offsets: parameters, gradients and the state of optimizers
/// are flat buffers of `flat_size` floats that share it (or have some of the tensors: places.h).
/// Tensors are listed as GPT-2 lists them, and lie in flat buffers in the order in which backward
/// completes their gradients. Immutable, so thread-safe.
class Layout {
 public:
  explicit Layout(const ModelConfig& config);

  const ModelConfig& config() const { return config_; }
  std::span<const Tensor> tensors() const { return tensors_; }
  const Tensor& operator[](std::size_t index) const { return tensors_[index]; }

  /// The token embedding: "wte.weight" (V, C), or, where it is factorised, its codes, "wte.codes"
  /// (V, r), whose product with the basis, "wte.basis" (r, C), takes its place.
  std::size_t embedding() const { return 0; }
  std::size_t embedding_basis() const { return 1; }  // of a factorised one alone
  /// What the head multiplies with: the embedding's tensor where they are tied.
  std::size_t lm_head() const { return embedding(); }
  std::size_t wpe() const { return config_.is_factorised() ? 2 : 1; }  // (T, C)
  const LayerTensors& layer(std::size_t l) const { return layers_[l]; }
  std::size_t ln_f_weight() const { return tensors_.size() - 2; }  // (C)
  std::size_t ln_f_bias() const { return tensors_.size() - 1; }    // (C)

  /// The groups in the order in which backward completes them: the head (its matrix and the
  /// last norm), the layers from the last to the first, the embeddings (the position embedding and
  /// the basis; the token embedding gets its inputs' part of the gradient then).
  std::span<const Group> groups() const { return groups_; }

  /// Floats of a flat buffer; a little more than parameter_count(), because tensors are aligned.
  std::size_t flat_size() const { return flat_size_; }
  std::size_t parameter_count() const { return parameter_count_; }

 private:
  std::size_t add(std::string name, std::size_t rows, std::size_t columns, Role role,
                  Initial initial);
  void begin_group(std::string name);
  /// Gives the tensors their place behind all others, in the newest group.
  void place(std::size_t first_tensor, std::size_t end_tensor);

  ModelConfig config_;
  std::vector<Tensor> tensors_;
  std::vector<LayerTensors> layers_;
  std::vector<Group> groups_;
  std::size_t flat_size_ = 0;
  std::size_t parameter_count_ = 0;
};

}  // namespace cllm::model
