#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cllm/model/layout.h"
#include "support/functions.h"
#include "support/matrix.h"

/// The models of all families, written like the mathematics, slowly. They depend on the code under
/// test for the names and shapes of tensors alone.
namespace cllm::support {

/// How many sequences of how many positions a batch has; its matrices have one row per position,
/// sequence after sequence.
struct BatchShape {
  std::size_t sequences;  // B
  std::size_t positions;  // T

  std::size_t rows() const { return sequences * positions; }
};

inline constexpr double kGeluCubic = 0.044715;

/// The tanh form of Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016:
/// ½ x (1 + tanh(√(2/π) (x + c x³)))
template <typename M>
M gelu(const M& x) {
  const M bent = sum(x, scaled(times(times(x, x), x), kGeluCubic));
  return scaled(sum(x, times(x, tanh_of(scaled(bent, std::sqrt(2 / std::numbers::pi))))), 0.5);
}

/// A model with its tensors, as many as the layout has, in its order. M is the kind of matrix:
/// Matrix<T>, or Taped<T>, which remembers the way to the gradient.
template <typename M>
class ReferenceModel {
 public:
  ReferenceModel(const model::Layout& layout, std::vector<M> tensors)
      : layout_(layout),
        config_(layout.config()),
        parts_(config_.parts),
        tensors_(std::move(tensors)) {}

  /// Logits (N, V) of inputs (B, T). Throws std::invalid_argument where they don't fit the layout.
  M logits(std::span<const std::uint32_t> inputs, const BatchShape& shape) const {
    const auto known = [&](std::uint32_t token) { return token < config_.vocabulary; };
    if (inputs.size() != shape.rows() || shape.rows() == 0 || shape.positions > config_.context ||
        !std::all_of(inputs.begin(), inputs.end(), known)) {
      throw std::invalid_argument("the reference model's inputs do not fit the layout");
    }
    M x = embedded(inputs, shape);
    for (std::size_t l = 0; l < config_.layers; ++l) {
      const model::LayerTensors& t = layout_.layer(l);
      x = sum(x, attention(t, norm(x, t.ln_1), shape));
      x = sum(x, mlp(t, norm(x, t.ln_2), shape));
    }
    return head(norm(x, layout_.ln_f()));
  }

 private:
  const M& tensor(std::size_t index) const { return tensors_[index]; }

  /// The table (V, C) that bands are: each a matrix, or the product of codes and a basis.
  M table(std::span<const model::TableBand> bands) const {
    std::vector<std::pair<Block, M>> blocks;
    for (const model::TableBand& band : bands) {
      const M& rows = tensor(band.tensor);
      blocks.emplace_back(Block{band.first_row, band.rows, 0, config_.channels},
                          band.basis ? product(rows, tensor(*band.basis)) : rows);
    }
    return assembled(blocks, config_.vocabulary, config_.channels);
  }

  /// Rows of the token table, and of the positions' where they are learned.
  M embedded(std::span<const std::uint32_t> inputs, const BatchShape& shape) const {
    const std::vector<std::size_t> tokens(inputs.begin(), inputs.end());
    M x = rows_of(table(layout_.embedding()), tokens);
    if (parts_.positions == model::PositionKind::kLearned) {
      std::vector<std::size_t> positions(shape.rows());
      for (std::size_t n = 0; n < positions.size(); ++n) positions[n] = n % shape.positions;
      x = sum(x, rows_of(tensor(*layout_.wpe()), positions));
    }
    return parts_.embedding_norm ? norm(x, layout_.embedding_norm()) : x;
  }

  /// Layer norm (Ba, Kiros, Hinton: "Layer Normalization", 2016) is RMS norm of what is centred.
  M norm(const M& x, const model::NormTensors& t) const {
    switch (parts_.norm) {
      case model::NormKind::kLayer:
        return plus_row(times_row(rms_normalised(centred(x), parts_.norm_epsilon), tensor(*t.gain)),
                        tensor(*t.shift));
      case model::NormKind::kRms:
        return times_row(rms_normalised(x, parts_.norm_epsilon), tensor(*t.gain));
      case model::NormKind::kPlainRms:
        return rms_normalised(x, parts_.norm_epsilon);
    }
    throw std::invalid_argument("the reference model does not know this norm");
  }

  /// x·Wᵀ + b, and α/r (x·Aᵀ)·Bᵀ of adapters: x (N, in), W (out, in), b (out), A (r, in), B (out,
  /// r)
  M linear(const M& x, std::size_t weight, const std::optional<std::size_t>& bias,
           const BatchShape& shape) const {
    M y = product_transposed(x, tensor(weight));
    for (const model::AdapterTensors& t : layout_.adapters_of(weight)) {
      const M added = scaled(product_transposed(product_transposed(x, tensor(t.a)), tensor(t.b)),
                             config_.lora.alpha / static_cast<double>(config_.lora.rank));
      const Block place{0, shape.rows(), t.first_row, t.rows};
      y = sum(y,
              assembled(std::vector{std::pair{place, added}}, shape.rows(), layout_[weight].rows));
    }
    return bias ? plus_row(y, tensor(*bias)) : y;
  }

  /// Causal attention (Vaswani et al., "Attention Is All You Need", 2017, 3.2): H heads of queries,
  /// each with one of the K heads of keys and values, which H / K neighbours share (Ainslie et al.,
  /// arXiv 2305.13245).
  M attention(const model::LayerTensors& t, const M& x, const BatchShape& shape) const {
    const std::size_t d = config_.head_size, positions = shape.positions;
    const std::size_t keys = config_.heads * d, values = keys + config_.kv_heads * d;
    const M qkv = linear(x, t.c_attn_weight, t.c_attn_bias, shape);
    std::vector<std::pair<Block, M>> heads;
    for (std::size_t b = 0; b < shape.sequences; ++b) {
      for (std::size_t h = 0; h < config_.heads; ++h) {
        const std::size_t k_head = h / (config_.heads / config_.kv_heads);
        const auto head_at = [&](std::size_t column) {
          return Block{b * positions, positions, column, d};
        };
        const M q = placed(block_of(qkv, head_at(h * d)), t.q_norm);
        const M k = placed(block_of(qkv, head_at(keys + k_head * d)), t.k_norm);
        const M v = block_of(qkv, head_at(values + k_head * d));
        const M scores = scaled(product_transposed(q, k), 1 / std::sqrt(static_cast<double>(d)));
        heads.emplace_back(head_at(h * d), product(causal_softmax(scores), v));
      }
    }
    const M together = assembled(heads, shape.rows(), config_.heads * d);
    return linear(together, t.attn_proj_weight, t.attn_proj_bias, shape);
  }

  /// One head's queries or keys (T, d) of a sequence, as they go into scores.
  M placed(const M& head, const std::optional<std::size_t>& gain) const {
    M y = head;
    if (parts_.qk_norm != model::QkNorm::kNone) y = rms_normalised(y, parts_.norm_epsilon);
    if (parts_.qk_norm == model::QkNorm::kRms) y = times_row(y, tensor(*gain));
    if (parts_.positions == model::PositionKind::kRotary) y = rotated(y, parts_.rope_theta, 1);
    return y;
  }

  M mlp(const model::LayerTensors& t, const M& x, const BatchShape& shape) const {
    return linear(activated(linear(x, t.c_fc_weight, t.c_fc_bias, shape), shape.rows()),
                  t.mlp_proj_weight, t.mlp_proj_bias, shape);
  }

  /// What stands between the MLP's matrices; of SwiGLU gates are the first half of the columns.
  M activated(const M& y, std::size_t rows) const {
    switch (parts_.mlp) {
      case model::MlpKind::kGelu:
        return gelu(y);
      case model::MlpKind::kSwiglu: {
        const std::size_t width = config_.mlp_width;
        const M gate = block_of(y, Block{0, rows, 0, width});
        return times(times(gate, logistic(gate)), block_of(y, Block{0, rows, width, width}));
      }
      case model::MlpKind::kRelu2: {
        const M positive = positive_part(y);
        return times(positive, positive);
      }
    }
    throw std::invalid_argument("the reference model does not know this MLP");
  }

  /// Logits, bounded by the softcap where there is one: cap tanh(z / cap).
  M head(const M& x) const {
    const M z = product_transposed(x, table(layout_.lm_head()));
    if (parts_.softcap == 0) return z;
    return scaled(tanh_of(scaled(z, 1 / parts_.softcap)), parts_.softcap);
  }

  const model::Layout& layout_;
  const model::ModelConfig& config_;
  const model::Parts& parts_;
  std::vector<M> tensors_;
};

template <typename T>
ReferenceModel<Matrix<T>> reference_model(const model::Layout& layout,
                                          std::span<const T> parameters) {
  if (parameters.size() != layout.flat_size()) {
    throw std::invalid_argument("the reference model's parameters do not fit the layout");
  }
  std::vector<Matrix<T>> tensors;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    tensors.push_back(tensor_of(layout, parameters, i));
  }
  return {layout, std::move(tensors)};
}

/// Logits (N, V) of inputs (B, T), with parameters in a flat buffer by the layout. Throws
/// std::invalid_argument where sizes or tokens don't fit the layout.
template <typename T>
Matrix<T> reference_logits(const model::Layout& layout, std::span<const T> parameters,
                           std::span<const std::uint32_t> inputs, const BatchShape& shape) {
  return reference_model(layout, parameters).logits(inputs, shape);
}

/// Mean cross-entropy of the targets (B, T) after the inputs (B, T), with parameters in a flat
/// buffer by the layout; `positions` may be fewer than the context. Throws std::invalid_argument
/// where the batch does not fit the layout.
template <typename T>
T reference_loss(const model::Layout& layout, std::span<const T> parameters,
                 std::span<const std::uint32_t> inputs, std::span<const std::uint32_t> targets,
                 std::size_t sequences, std::size_t positions) {
  const Matrix<T> logits = reference_logits(layout, parameters, inputs, {sequences, positions});
  return cross_entropy(logits, targets)(0, 0);
}

}  // namespace cllm::support
