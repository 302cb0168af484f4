#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cllm/model/layout.h"
#include "support/by_place.h"
#include "support/matrix.h"

namespace cllm::support {

/// Root mean square; 0 of nothing.
inline double root_mean_square(std::span<const double> values) {
  double total = 0;
  for (const double value : values) total += value * value;
  return values.empty() ? 0 : std::sqrt(total / static_cast<double>(values.size()));
}

/// What counts as nothing beside the gradients: 1 % of the root mean square of all of them. It is
/// for tensors whose gradient cancels: that of the keys' bias, for one, is exactly zero, and
/// rounded it is the rest of a sum of terms as large as other gradients.
inline double gradient_floor(const model::Layout& layout, std::span<const double> gradients) {
  // The padding, which is zero, counts in the flat buffer's mean but not among the parameters.
  return 0.01 * root_mean_square(gradients) *
         std::sqrt(static_cast<double>(gradients.size()) /
                   static_cast<double>(layout.parameter_count()));
}

/// How a tensor's error stands to what is allowed: at most 1 is good, NaN is infinite.
struct TensorComparison {
  double ratio = 0;
  std::string message;
};

/// The comparison of one tensor; see `gradients_agree`.
template <typename T>
TensorComparison compare_tensor(const model::Tensor& tensor, std::span<const T> fast,
                                std::span<const double> reference, double relative_tolerance,
                                double floor) {
  constexpr double kDeviations = 8;
  const auto ratio_of = [](double error, double allowed) {
    if (error == 0) return 0.0;
    const double ratio = error / allowed;
    return std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio;
  };
  const double tensor_rms = root_mean_square(reference);
  std::vector<double> errors(tensor.size());
  double worst_ratio = -1;
  std::string worst_element;
  for (std::size_t row = 0; row < tensor.rows; ++row) {
    const double row_rms =
        root_mean_square(reference.subspan(row * tensor.columns, tensor.columns));
    for (std::size_t column = 0; column < tensor.columns; ++column) {
      const std::size_t i = row * tensor.columns + column;
      const double actual = static_cast<double>(fast[i]);
      errors[i] = std::abs(actual - reference[i]);
      const double allowed = kDeviations * relative_tolerance *
                             (std::abs(reference[i]) + row_rms + tensor_rms + floor);
      if (const double ratio = ratio_of(errors[i], allowed); ratio > worst_ratio) {
        worst_ratio = ratio;
        worst_element = fmt::format("({}, {}) is {:.9g}, not {:.9g}: error {:.3g}, allowed {:.3g}",
                                    row, column, actual, reference[i], errors[i], allowed);
      }
    }
  }
  const double error = root_mean_square(errors);
  const double allowed = relative_tolerance * (tensor_rms + floor);
  return {std::max(worst_ratio, ratio_of(error, allowed)),
          fmt::format("{} has error {:.3g} (rms), allowed {:.3g}; its worst element {}",
                      tensor.name, error, allowed, worst_element)};
}

/// Whether the flat buffer `fast` is `reference` but for rounding; the message names the worst
/// tensor and its worst element, also on success. With ε the relative tolerance
/// (support/tolerance.h) and rms the root mean square of elements,
///
///     rms(fast − reference) ≤ ε (rms(reference) + floor)                       of each tensor,
///     |fast − reference| ≤ 8 ε (|reference| + rms(row) + rms(tensor) + floor)  of each element.
///
/// Errors of elements scatter about the rms of their row (what comes from the row's own sums) and
/// of the tensor (what earlier stages mixed in); of 10⁷ normal ones none is beyond 8 standard
/// deviations. NaN and infinity fail, and so does anything but zero in the padding.
template <typename T>
::testing::AssertionResult gradients_agree(const model::Layout& layout, std::span<const T> fast,
                                           std::span<const double> reference,
                                           double relative_tolerance) {
  if (fast.size() != layout.flat_size() || reference.size() != layout.flat_size()) {
    return ::testing::AssertionFailure()
           << fmt::format("flat buffers of {} and {} elements where the layout has {}", fast.size(),
                          reference.size(), layout.flat_size());
  }
  const double floor = gradient_floor(layout, reference);
  TensorComparison worst{-1, ""};
  std::size_t end = 0;  // of the tensor before
  const auto is_zero = [](T value) { return value == T(0); };
  for (const model::Tensor& tensor : by_place(layout)) {
    const std::span<const T> padding = fast.subspan(end, tensor.offset - end);
    end = tensor.offset + tensor.size();
    if (!std::all_of(padding.begin(), padding.end(), is_zero)) {
      return ::testing::AssertionFailure() << "the padding before " << tensor.name << " is not 0";
    }
    TensorComparison comparison =
        compare_tensor(tensor, fast.subspan(tensor.offset, tensor.size()),
                       reference.subspan(tensor.offset, tensor.size()), relative_tolerance, floor);
    if (comparison.ratio > worst.ratio) worst = std::move(comparison);
  }
  if (const std::span<const T> padding = fast.subspan(end);
      !std::all_of(padding.begin(), padding.end(), is_zero)) {
    return ::testing::AssertionFailure() << "the padding at the end is not 0";
  }
  return (worst.ratio <= 1 ? ::testing::AssertionSuccess() : ::testing::AssertionFailure())
         << fmt::format("at {:.2g} of the tolerance, {}", worst.ratio, worst.message);
}

/// The same of logits, which have no floor: whether `fast` (N, V) is `reference` but for rounding.
template <typename T>
::testing::AssertionResult logits_agree(std::span<const T> fast, const Matrix<double>& reference,
                                        double relative_tolerance) {
  if (fast.size() != reference.values.size()) {
    return ::testing::AssertionFailure() << fmt::format("{} logits where the reference has {}",
                                                        fast.size(), reference.values.size());
  }
  const model::Tensor whole{.name = "the logits",
                            .pieces = {},
                            .rows = reference.rows,
                            .columns = reference.columns,
                            .role = model::Role::kHead,
                            .initial = model::Initial::kZero,
                            .offset = 0};
  const TensorComparison comparison =
      compare_tensor<T>(whole, fast, reference.values, relative_tolerance, 0);
  return (comparison.ratio <= 1 ? ::testing::AssertionSuccess() : ::testing::AssertionFailure())
         << fmt::format("at {:.2g} of the tolerance, {}", comparison.ratio, comparison.message);
}

}  // namespace cllm::support
