#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/model/layout.h"
#include "support/compare.h"
#include "support/example.h"
#include "support/reference_gradients.h"

/// Note [Tolerance of gradients]
///
/// A rounded dot product of length n differs from the exact one by about u√n ‖x‖‖y‖ (u: unit
/// roundoff), because rounding errors are nearly independent and of mean zero; the worst case is
/// u·n (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci.
/// Comput. 41(5), 2019). Sums in blocks and in several accumulators, as in BLAS and AVX2, are
/// better. A gradient is the end of a chain of such products, forward and backward, and the stages
/// round independently, so their relative errors add as squares: to u·√(Σ n over the stages).
///
/// How far a relative error inside the chain moves the result is the condition of the problem,
/// and that depends on the parameters: a layer norm divides by a deviation that may be far below
/// the size of its row (the fewer channels, the more often), and a softmax that is sure of the
/// right token leaves a small difference of large numbers. So the condition κ is measured: every
/// parameter is moved by a relative δ at random, in double, and κ is the relative movement of the
/// gradient over δ. This is about 10 for most examples, and beyond 1000 for some with few channels.
/// Then
///
///     ε = 2 κ u √(Σ n),
///
/// where 2 is for the tail. (The reference model in float stayed below 0.9 ε in 14,000 examples of
/// ten shapes, 1 to 4 layers, 4 to 128 channels, and below 0.03 ε in half of them.)
///
/// What moving the parameters doesn't show is a gradient that is zero wherever they are: that of
/// queries and keys where a sequence has one position, for the softmax of one score is 1. Rounded
/// it is the rest of terms about as large as other gradients, which is 100 times the floor of
/// `gradients_agree`. So there κ is at least 100.
namespace cllm::support {

inline constexpr double kFloatRoundoff = 0x1p-24;
inline constexpr double kDoubleRoundoff = 0x1p-53;

/// Those of a layer's adapters, at most, on either way.
inline std::size_t adapter_terms(const model::ModelConfig& config) {
  if (config.lora.rank == 0) return 0;
  return config.qkv_width() + config.query_width() + config.channels + config.mlp_inputs() +
         4 * config.lora.rank;
}

/// Σ n over the sums of the model from inputs to logits, but for the softmax's: per layer two norms
/// (two sums of C each of layer norm, one of RMS norm), c_attn (C), scores (d), softmax and values
/// (T each), attention's projection (Hd), c_fc (C), the other projection (F); with a QK-norm, one
/// sum of d for queries and one for keys. At the head a norm and the product (C); with a norm of
/// the embeddings, one more. A factorised embedding's basis: C and r. Activations, rotations and
/// the softcap have no sums: a few roundings each, which are as nothing beside.
inline std::size_t forward_terms(const model::ModelConfig& given, std::size_t positions) {
  const model::ModelConfig config = model::with_usual_sizes(given);
  const model::Parts& parts = config.parts;
  const std::size_t c = config.channels;
  const std::size_t norm = parts.norm == model::NormKind::kLayer ? 2 * c : c;
  const std::size_t qk_norm = parts.qk_norm == model::QkNorm::kNone ? 0 : 2 * config.head_size;
  const std::size_t layer = 2 * norm + c + qk_norm + config.head_size + 2 * positions +
                            config.query_width() + c + config.mlp_width + adapter_terms(config);
  const std::size_t basis = config.is_factorised() ? c + config.embedding_width() : 0;
  return config.layers * layer + norm + c + basis + (parts.embedding_norm ? norm : 0);
}

/// √(Σ n) over the sums that a gradient has gone through: `forward_terms`, the softmax over the
/// vocabulary, and the same transposed on the way back. There products sum over what are their
/// outputs forward: the width of queries, keys and values, that of c_fc, V; and a head of keys sums
/// over the positions of the H / K heads of queries that share it. At last, the sum over all
/// positions that makes a parameter's gradient.
inline double rounding_growth(const model::ModelConfig& given, std::size_t sequences,
                              std::size_t positions) {
  const model::ModelConfig config = model::with_usual_sizes(given);
  const model::Parts& parts = config.parts;
  const std::size_t c = config.channels;
  const std::size_t norm = parts.norm == model::NormKind::kLayer ? 2 * c : c;
  const std::size_t qk_norm = parts.qk_norm == model::QkNorm::kNone ? 0 : 2 * config.head_size;
  const std::size_t sharing = config.heads / config.kv_heads;
  const std::size_t layer = c + config.mlp_inputs() + c + 2 * positions * sharing +
                            config.head_size + qk_norm + config.qkv_width() + 2 * norm +
                            adapter_terms(config);
  const std::size_t basis = config.is_factorised() ? c + config.embedding_width() : 0;
  const std::size_t backward = config.layers * layer + norm + 2 * config.vocabulary + basis +
                               (parts.embedding_norm ? norm : 0);
  return std::sqrt(
      static_cast<double>(forward_terms(given, positions) + backward + sequences * positions));
}

/// κ: how many times its own relative size a random movement of the parameters moves the gradient
/// of the tensor that moves most, in root mean squares with `gradients_agree`'s floor.
/// `gradients_at` gives a flat buffer for one of parameters.
template <typename Gradients>
double gradient_condition(const Example& example, const Gradients& gradients_at) {
  constexpr double kMovement = 1e-8;
  constexpr std::uint64_t kDraws = 3;
  const model::Layout& layout = example.layout;
  const std::vector<double> parameters = example.exact_parameters();
  const std::vector<double> gradients = gradients_at(parameters);
  const double floor = gradient_floor(layout, gradients);
  double condition = example.positions == 1 ? 100 : 1;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    RandomStream random(0, draw);
    std::vector<double> moved = parameters;
    for (double& value : moved) value *= 1 + kMovement * random.normal();
    std::vector<double> difference = gradients_at(moved);
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= gradients[i];
    for (const model::Tensor& tensor : layout.tensors()) {
      const auto size_of = [&](std::span<const double> buffer) {
        return root_mean_square(buffer.subspan(tensor.offset, tensor.size()));
      };
      condition =
          std::max(condition, size_of(difference) / (size_of(gradients) + floor) / kMovement);
    }
  }
  return condition;
}

inline double gradient_condition(const Example& example) {
  return gradient_condition(example, [&](std::span<const double> parameters) {
    return reference_gradients<double>(example.layout, parameters, example.inputs, example.targets,
                                       example.sequences, example.positions);
  });
}

/// ε of Note [Tolerance of gradients], for `gradients_agree`. Costs four backward passes of the
/// reference. It also bounds the error of the loss, relative to max(1, loss).
inline double gradient_tolerance(const Example& example, double unit_roundoff) {
  return 2 * gradient_condition(example) * unit_roundoff *
         rounding_growth(example.layout.config(), example.sequences, example.positions);
}

/// κ as above, of the logits (N, V): of the row that moves most.
inline double logits_condition(const Example& example) {
  constexpr double kMovement = 1e-8;
  constexpr std::uint64_t kDraws = 3;
  const auto logits_at = [&](std::span<const double> parameters) {
    return reference_logits<double>(example.layout, parameters, example.inputs,
                                    {example.sequences, example.positions});
  };
  const std::vector<double> parameters = example.exact_parameters();
  const Matrix<double> logits = logits_at(parameters);
  double condition = 1;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    RandomStream random(0, draw);
    std::vector<double> moved = parameters;
    for (double& value : moved) value *= 1 + kMovement * random.normal();
    const Matrix<double> difference = sum(logits_at(moved), scaled(logits, -1));
    for (std::size_t n = 0; n < logits.rows; ++n) {
      const auto size_of = [&](const Matrix<double>& matrix) {
        return root_mean_square(std::span(&matrix(n, 0), matrix.columns));
      };
      condition = std::max(condition, size_of(difference) / size_of(logits) / kMovement);
    }
  }
  return condition;
}

/// ε of the logits, for `logits_agree`: what Note [Tolerance of gradients] has, of the forward sums
/// alone. `other_terms` are added to their Σ n, for roundings that aren't of these sums.
inline double logits_tolerance(const Example& example, double unit_roundoff,
                               std::size_t other_terms = 0) {
  const std::size_t terms = forward_terms(example.layout.config(), example.positions) + other_terms;
  return 2 * logits_condition(example) * unit_roundoff * std::sqrt(static_cast<double>(terms));
}

}  // namespace cllm::support
