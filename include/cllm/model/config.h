#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/model/bands.h"
#include "cllm/model/lora.h"

namespace cllm::model {

/// How rows are normalised: layer norm (Ba et al. 2016), with gains and shifts, or RMS norm (Zhang
/// and Sennrich 2019), with gains or without.
enum class NormKind { kLayer, kRms, kPlainRms };

/// What tells positions apart: an embedding of each, or a rotation of queries and keys by angles
/// that grow with the position (RoPE, Su et al., arXiv 2104.09864).
enum class PositionKind { kLearned, kRotary };

/// Whether queries and keys go through an RMS norm of each head (Henry et al., arXiv 2010.04245).
enum class QkNorm { kNone, kRms, kPlainRms };

/// The function between the MLP's matrices: GELU; SwiGLU, of which half of the inputs are gates
/// (Shazeer, arXiv 2002.05202); or the square of ReLU (So et al., arXiv 2109.08668).
enum class MlpKind { kGelu, kSwiglu, kRelu2 };

/// How matrices start (Note [Initial weights] in initialize.h).
enum class InitialWeights { kNormal, kZeroProjections };

/// The parts that a model is made of. A family is a choice of them (families.h).
struct Parts {
  NormKind norm = NormKind::kLayer;
  double norm_epsilon = 1e-5;
  PositionKind positions = PositionKind::kLearned;
  double rope_theta = 10'000;  ///< base of the angles of rotary positions
  QkNorm qk_norm = QkNorm::kNone;
  MlpKind mlp = MlpKind::kGelu;
  bool biases = true;           ///< of the matrices between activations
  bool tied = true;             ///< the output layer is the token embedding
  bool embedding_norm = false;  ///< the embeddings go through a norm before the first layer
  double softcap = 0;           ///< logits become cap tanh(logit / cap); 0: they stay as they are
  InitialWeights initial_weights = InitialWeights::kNormal;
  bool operator==(const Parts&) const = default;
};

/// A model: its shape and its parts, and the adapters that it has beside them.
struct ModelConfig {
  std::size_t layers = 4;      ///< L
  std::size_t heads = 4;       ///< H
  std::size_t channels = 128;  ///< C
  std::size_t context = 64;    ///< T: the most positions a sequence has
  std::size_t vocabulary = 0;  ///< V; comes from the tokenizer
  /// r: the token embedding is codes (V, r) times basis (r, C); 0: one table (V, C).
  std::size_t embedding_rank = 0;
  std::size_t kv_heads = 0;   ///< K: heads of keys and values; 0 for H
  std::size_t head_size = 0;  ///< d; 0 for C / H
  std::size_t mlp_width = 0;  ///< F: between the MLP's matrices; 0 for the usual one
  std::string_view family = "gpt2";
  Parts parts = {};
  Lora lora = {};
  EmbeddingBands bands = {};  ///< of the token embedding; where there are some, its rank is 0

  /// Whether rows of the token embedding are in the order of frequency, and have ranks by bands.
  bool has_bands() const { return bands.count > 0; }
  /// Whether some of the token embedding is codes times a basis.
  bool is_factorised() const;
  /// The token embedding as bands: one, unless it has several. Of a model with a vocabulary.
  std::vector<EmbeddingBand> table_bands() const;
  /// Numbers of the widest row that a token has: C, or r.
  std::size_t embedding_width() const;
  /// Columns of all queries side by side, Hd, of all keys or values, Kd, and of all three.
  std::size_t query_width() const { return heads * head_size; }
  std::size_t kv_width() const { return kv_heads * head_size; }
  std::size_t qkv_width() const { return query_width() + 2 * kv_width(); }
  /// Columns of what the MLP's first matrix gives: gates and values of SwiGLU.
  std::size_t mlp_inputs() const {
    return parts.mlp == MlpKind::kSwiglu ? 2 * mlp_width : mlp_width;
  }
  /// With the usual sizes in place of 0.
  bool operator==(const ModelConfig& other) const;
};

/// The same with the usual numbers for those that are 0: as many heads of keys and values as of
/// queries, C / H for their size, and a width of the MLP that costs 8 C² a layer: 4C, or of SwiGLU
/// 8/3 C, rounded up to a multiple of 32.
ModelConfig with_usual_sizes(ModelConfig config);

/// Throws Error, naming the option to change, unless the model makes sense.
void validate(const ModelConfig& config);

/// What messages say of a model: "qwen3, 4 layers, 4 heads, 128 channels, …".
std::string shape_text(const ModelConfig& config);
/// The parts of a model that its family has otherwise, such as "relu2 MLP"; may be empty.
std::string parts_text(const ModelConfig& config);

}  // namespace cllm::model
