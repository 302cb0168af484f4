#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "support/matrix.h"

/// What models do with matrices besides adding and multiplying. On std::complex<double> every
/// function here is analytic, so that Im f(x + ih) / h is df/dx without cancellation (Squire and
/// Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions", SIAM Review 40(1),
/// 1998).
namespace cllm::support {

template <typename T, typename Function>
Matrix<T> mapped(Matrix<T> x, const Function& f) {
  for (T& value : x.values) value = f(value);
  return x;
}

template <typename T>
Matrix<T> tanh_of(const Matrix<T>& x) {
  return mapped(x, [](const T& a) { return T(std::tanh(a)); });
}

/// 1 / (1 + e⁻ˣ)
template <typename T>
Matrix<T> logistic(const Matrix<T>& x) {
  return mapped(x, [](const T& a) { return T(1) / (T(1) + std::exp(-a)); });
}

/// x where it is above 0, else 0.
template <typename T>
Matrix<T> positive_part(const Matrix<T>& x) {
  return mapped(x, [](const T& a) { return std::real(a) > 0 ? a : T(0); });
}

/// Each row less its mean.
template <typename T>
Matrix<T> centred(Matrix<T> x) {
  for (std::size_t n = 0; n < x.rows; ++n) {
    T mean{};
    for (std::size_t i = 0; i < x.columns; ++i) mean += x(n, i) / T(static_cast<double>(x.columns));
    for (std::size_t i = 0; i < x.columns; ++i) x(n, i) -= mean;
  }
  return x;
}

/// √(mean x² + ε) of row n.
template <typename T>
T root_of_squares(const Matrix<T>& x, std::size_t n, double epsilon) {
  T squares{};
  for (std::size_t i = 0; i < x.columns; ++i) {
    squares += x(n, i) * x(n, i) / T(static_cast<double>(x.columns));
  }
  return std::sqrt(squares + T(epsilon));
}

/// Each row divided by √(mean x² + ε): Zhang and Sennrich, "Root Mean Square Layer Normalization",
/// 2019.
template <typename T>
Matrix<T> rms_normalised(Matrix<T> x, double epsilon) {
  for (std::size_t n = 0; n < x.rows; ++n) {
    const T root = root_of_squares(x, n, epsilon);
    for (std::size_t i = 0; i < x.columns; ++i) x(n, i) /= root;
  }
  return x;
}

/// Row p's pairs (x_i, x_{i + d/2}) turned as complex numbers by the angle p θ^(−2i/d), or by its
/// opposite where `direction` is −1: Su et al., arXiv 2104.09864, with halves in place of
/// neighbours.
template <typename T>
Matrix<T> rotated(const Matrix<T>& x, double theta, int direction) {
  const std::size_t pairs = x.columns / 2;
  Matrix<T> y(x.rows, x.columns);
  for (std::size_t p = 0; p < x.rows; ++p) {
    for (std::size_t i = 0; i < pairs; ++i) {
      const double exponent = -2 * static_cast<double>(i) / static_cast<double>(x.columns);
      const double angle = direction * static_cast<double>(p) * std::pow(theta, exponent);
      const T cosine = T(std::cos(angle)), sine = T(std::sin(angle));
      y(p, i) = x(p, i) * cosine - x(p, i + pairs) * sine;
      y(p, i + pairs) = x(p, i + pairs) * cosine + x(p, i) * sine;
    }
  }
  return y;
}

/// exp(s_i) / Σ exp(s_j) and the log of that sum. The largest real part is a constant that
/// cancels: it prevents overflow and leaves the function analytic.
template <typename T>
std::pair<std::vector<T>, T> softmax(std::span<const T> s) {
  auto largest = std::real(s[0]);
  for (const T& value : s) largest = std::max(largest, std::real(value));
  T total{};
  std::vector<T> p(s.size());
  for (std::size_t i = 0; i < s.size(); ++i) total += p[i] = std::exp(s[i] - T(largest));
  for (T& value : p) value /= total;
  return {p, std::log(total) + T(largest)};
}

/// Of scores (T, T): row t is the softmax of its first t + 1, then zeros.
template <typename T>
Matrix<T> causal_softmax(const Matrix<T>& scores) {
  Matrix<T> y(scores.rows, scores.columns);
  for (std::size_t t = 0; t < scores.rows; ++t) {
    const std::vector<T> p = softmax(std::span(&scores(t, 0), t + 1)).first;
    std::copy(p.begin(), p.end(), &y(t, 0));
  }
  return y;
}

/// Throws std::invalid_argument unless there is a target in the vocabulary for each row of logits.
inline void check_targets(std::size_t rows, std::size_t vocabulary,
                          std::span<const std::uint32_t> targets) {
  const auto known = [&](std::uint32_t target) { return target < vocabulary; };
  if (targets.size() != rows || !std::all_of(targets.begin(), targets.end(), known)) {
    throw std::invalid_argument("the reference model's targets do not fit the batch");
  }
}

/// Mean over all rows of −log softmax(logits)[target], as a matrix of one element: logits (N, V),
/// targets (N).
template <typename T>
Matrix<T> cross_entropy(const Matrix<T>& logits, std::span<const std::uint32_t> targets) {
  check_targets(logits.rows, logits.columns, targets);
  Matrix<T> loss(1, 1);
  for (std::size_t n = 0; n < logits.rows; ++n) {
    const std::span row(&logits(n, 0), logits.columns);
    loss(0, 0) += softmax(row).second - row[targets[n]];
  }
  loss(0, 0) /= T(static_cast<double>(logits.rows));
  return loss;
}

}  // namespace cllm::support
