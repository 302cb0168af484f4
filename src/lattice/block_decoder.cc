#include "block_decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::lattice {
namespace {

/// What encode_coordinates takes, with room for doubling.
constexpr double kMostCoordinate = 1 << 26;

void require_size(double coordinate) {
  if (!(std::abs(coordinate) < kMostCoordinate)) fail("a coordinate is too large for its code");
}

}  // namespace

void RoundingDecoder::decode(std::span<const float> targets, std::int32_t* coordinates,
                             std::size_t stride) const {
  for (std::size_t row = 0; row * columns_ < targets.size(); ++row) {
    for (std::size_t i = 0; i < columns_; ++i) {
      const float z = std::nearbyint(targets[row * columns_ + i]);
      require_size(z);
      coordinates[row * stride + i] = static_cast<std::int32_t>(z);
    }
  }
}

// --- Nearest plane ------------------------------------------------------------------------------

PlaneDecoder::PlaneDecoder(std::span<const double> lower, std::size_t columns)
    : columns_(columns), plane_(lower, columns) {}

PlaneDecoder::PlaneDecoder(std::span<const double> lower, const Certificate& certificate)
    : columns_(certificate.transform.rows()),
      plane_(multiply(certificate.transform, lower, columns_), columns_) {
  const auto transform = certificate.transform.values(), inverse = certificate.inverse.values();
  transform_.assign(transform.begin(), transform.end());
  inverse_.assign(inverse.begin(), inverse.end());
}

void PlaneDecoder::decode(std::span<const float> targets, std::int32_t* coordinates,
                          std::size_t stride) const {
  const std::size_t n = columns_;
  /// row (n) times a matrix (n, n).
  const auto multiplied = [n](const auto* row, const std::vector<double>& matrix, double* out) {
    std::fill_n(out, n, 0.0);
    for (std::size_t k = 0; k < n; ++k) {
      const auto factor = static_cast<double>(row[k]);
      if (factor == 0) continue;
      for (std::size_t j = 0; j < n; ++j) out[j] += factor * matrix[k * n + j];
    }
  };
  std::vector<double> coefficients(targets.begin(), targets.end());
  if (!inverse_.empty()) {
    for (std::size_t at = 0; at < targets.size(); at += n) {
      multiplied(&targets[at], inverse_, &coefficients[at]);
    }
  }
  std::vector<std::int64_t> codes(targets.size());
  plane_.decode_coefficients(coefficients, codes);
  std::vector<double> point(n);
  for (std::size_t row = 0; row * n < targets.size(); ++row) {
    const std::int64_t* code = &codes[row * n];
    if (transform_.empty()) {
      std::copy_n(code, n, point.begin());
    } else {
      multiplied(code, transform_, point.data());
    }
    for (std::size_t i = 0; i < n; ++i) {
      require_size(point[i]);
      coordinates[row * stride + i] = static_cast<std::int32_t>(point[i]);
    }
  }
}

// --- E8 -----------------------------------------------------------------------------------------

struct E8Decoder::Point {
  float cost = std::numeric_limits<float>::infinity();
  std::array<float, kE8Dimension> values{};  // x, in halves
};

E8Decoder::E8Decoder(std::span<const double> lower, std::size_t columns)
    : columns_(columns), feedback_(columns * columns), weights_(columns) {
  for (std::size_t j = 0; j < columns; ++j) {
    const double length = lower[j * columns + j];
    weights_[j] = static_cast<float>(length * length);
    for (std::size_t k = j + 1; k < columns; ++k) {
      feedback_[k * columns + j] = static_cast<float>(lower[k * columns + j] / length);
    }
  }
}

void E8Decoder::try_path(const float* targets, const float* moved_targets, std::size_t first,
                         bool half, std::size_t detour, Point& best) const {
  const float shift = half ? 0.5f : 0.0f;
  std::array<float, kE8Dimension> moved{};
  std::copy_n(moved_targets + first, kE8Dimension, moved.begin());
  Point point{.cost = 0};
  bool odd = false;
  for (std::size_t i = kE8Dimension; i-- > 0;) {
    const float target = moved[i] - shift;
    float z = std::nearbyint(target);
    const bool z_is_odd = (static_cast<std::int32_t>(z) & 1) != 0;
    if (i == 0 ? z_is_odd != odd : i == detour) {
      z += target >= z ? 1.0f : -1.0f;
      odd ^= !z_is_odd;
    } else {
      odd ^= z_is_odd;
    }
    point.values[i] = z + shift;
    const float residual = target - z;
    point.cost += weights_[first + i] * residual * residual;
    if (point.cost >= best.cost) return;
    const float error = targets[first + i] - point.values[i];
    const float* feedback = &feedback_[(first + i) * columns_ + first];
    for (std::size_t j = 0; j < i; ++j) moved[j] += error * feedback[j];
  }
  best = point;
}

void E8Decoder::settle(std::size_t column, std::size_t before, float error, float* moved) const {
  const float* feedback = &feedback_[column * columns_];
  for (std::size_t j = 0; j < before; ++j) moved[j] += error * feedback[j];
}

void E8Decoder::decode(std::span<const float> targets, std::int32_t* coordinates,
                       std::size_t stride) const {
  const std::size_t whole = columns_ / kE8Dimension * kE8Dimension;
  std::vector<float> moved(columns_);
  for (std::size_t row = 0; row * columns_ < targets.size(); ++row) {
    const float* x = &targets[row * columns_];
    std::copy_n(x, columns_, moved.begin());
    std::int32_t* twice = coordinates + row * stride;
    for (std::size_t i = columns_; i-- > whole;) {
      const float z = std::nearbyint(moved[i]);
      require_size(z);
      twice[i] = 2 * static_cast<std::int32_t>(z);
      settle(i, i, x[i] - z, moved.data());
    }
    for (std::size_t first = whole; first > 0;) {
      first -= kE8Dimension;
      for (std::size_t i = first; i < first + kE8Dimension; ++i) require_size(moved[i]);
      Point best;
      for (std::size_t detour = 0; detour < kE8Dimension; ++detour) {
        for (const bool half : {false, true}) {
          try_path(x, moved.data(), first, half, detour, best);
        }
      }
      for (std::size_t i = first; i < first + kE8Dimension; ++i) {
        require_size(best.values[i - first]);
        twice[i] = static_cast<std::int32_t>(2 * best.values[i - first]);
        settle(i, first, x[i] - best.values[i - first], moved.data());
      }
    }
  }
}

}  // namespace cllm::lattice
