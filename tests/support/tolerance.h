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
namespace cllm::support {

inline constexpr double kFloatRoundoff = 0x1p-24;
inline constexpr double kDoubleRoundoff = 0x1p-53;

/// √(Σ n) over the sums that a gradient has gone through. Forward, per layer: two layer norms (two
/// sums of C each), c_attn (C), scores (C/H), softmax and values (T each), attention's projection
/// (C), c_fc (C), the other projection (4C). Backward: the same transposed, so C, 4C, C, T and T,
/// C/H, 3C and two layer norms. At the head: one layer norm each way, C, the softmax and its
/// way back (V each). A factorised embedding's basis: C and r, for inputs and head. At last, the
/// sum over all positions that makes a parameter's gradient.
inline double rounding_growth(const model::ModelConfig& given, std::size_t sequences,
                              std::size_t positions) {
  const model::ModelConfig config = model::with_usual_sizes(given);
  const std::size_t c = config.channels;
  const std::size_t forward = 2 * (2 * c) + c + config.head_size + 2 * positions + c + c + 4 * c;
  const std::size_t backward =
      c + 4 * c + c + 2 * positions + config.head_size + 3 * c + 2 * (2 * c);
  const std::size_t basis = config.is_factorised() ? 2 * (c + config.embedding_rank) : 0;
  const std::size_t head = 2 * (2 * c) + c + 2 * config.vocabulary + basis;
  return std::sqrt(
      static_cast<double>(config.layers * (forward + backward) + head + sequences * positions));
}

/// κ: how many times its own relative size a random movement of the parameters moves the gradient
/// of the tensor that moves most, in root mean squares with `gradients_agree`'s floor.
inline double gradient_condition(const Example& example) {
  constexpr double kMovement = 1e-8;
  constexpr std::uint64_t kDraws = 3;
  const model::Layout& layout = example.layout;
  const auto gradients_at = [&](std::span<const double> parameters) {
    return reference_gradients<double>(layout, parameters, example.inputs, example.targets,
                                       example.sequences, example.positions);
  };
  const std::vector<double> parameters = example.exact_parameters();
  const std::vector<double> gradients = gradients_at(parameters);
  const double floor = gradient_floor(layout, gradients);
  double condition = 1;
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

/// ε of Note [Tolerance of gradients], for `gradients_agree`. Costs four backward passes of the
/// reference. It also bounds the error of the loss, relative to max(1, loss).
inline double gradient_tolerance(const Example& example, double unit_roundoff) {
  return 2 * gradient_condition(example) * unit_roundoff *
         rounding_growth(example.layout.config(), example.sequences, example.positions);
}

}  // namespace cllm::support
