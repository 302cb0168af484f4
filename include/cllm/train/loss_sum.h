#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace cllm::train {

/// A sum of losses that doesn't depend on the order of its terms: each micro-batch's loss is
/// rounded to a multiple of 2^-20 nats, and integers are added. Good for 8 * 10^12 nats. Not
/// thread-safe.
class LossSum {
 public:
  /// A micro-batch's loss, summed over `positions` positions. A loss that is not a number, or
  /// beyond that, is counted as such.
  void add(double loss, std::uint64_t positions) {
    values_[kPositions] += static_cast<std::int64_t>(positions);
    if (std::abs(loss) < kMostLoss) {  // NaN is not
      values_[kLoss] += std::llround(loss * kScale);
    } else {
      ++values_[kNotFinite];
    }
  }
  void add(const LossSum& other) {
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] += other.values_[i];
  }

  /// Mean loss in nats per position; NaN when there were none, or one of them was not a number.
  double mean() const {
    if (values_[kNotFinite] > 0 || values_[kPositions] == 0) {
      return std::numeric_limits<double>::quiet_NaN();
    }
    return static_cast<double>(values_[kLoss]) / kScale / static_cast<double>(values_[kPositions]);
  }
  std::uint64_t positions() const { return static_cast<std::uint64_t>(values_[kPositions]); }

  /// What ranks add up.
  std::span<std::int64_t> values() { return values_; }

 private:
  enum { kLoss, kPositions, kNotFinite, kCount };
  static constexpr double kScale = 0x1p20;
  static constexpr double kMostLoss = 0x1p40;
  std::array<std::int64_t, kCount> values_{};
};

}  // namespace cllm::train
