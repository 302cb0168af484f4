#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/lattice/integer_matrix.h"

/// Bases to test with.
namespace cllm::lattice {

/// n vectors of m integers, uniform in -size..size.
inline IntegerMatrix random_basis(std::size_t n, std::size_t m, std::int64_t size,
                                  std::uint64_t seed) {
  RandomStream random(seed, n * m);
  IntegerMatrix result(n, m);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::int64_t& value : result.row(i)) {
      value =
          static_cast<std::int64_t>(random.below(2 * static_cast<std::uint64_t>(size) + 1)) - size;
    }
  }
  return result;
}

/// A hard lattice for its size (Goldstein and Mayer): a large random column and the identity.
inline IntegerMatrix hard_basis(std::size_t n, std::int64_t modulus, std::uint64_t seed) {
  RandomStream random(seed, n);
  IntegerMatrix result = IntegerMatrix::identity(n);
  result(0, 0) = modulus;
  for (std::size_t i = 1; i < n; ++i) {
    result(i, 0) = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(modulus)));
  }
  return result;
}

/// L, lower-triangular (n, n), with L Lᵀ = the covariance of n variables, like those in a network:
/// mixed at random from independent ones whose deviations fall as k^-steepness, from twice as many
/// samples as variables, and damped by a hundredth of the mean variance.
inline std::vector<double> covariance_factor(std::size_t n, double steepness, std::uint64_t seed) {
  RandomStream random(seed, n);
  std::vector<double> mix(n * n);
  for (double& value : mix) value = random.normal();
  std::vector<double> covariance(n * n);
  std::vector<double> sample(n);
  for (std::size_t s = 0; s < 2 * n; ++s) {
    sample.assign(n, 0);
    for (std::size_t k = 0; k < n; ++k) {
      const double part = random.normal() * std::pow(static_cast<double>(k + 1), -steepness);
      for (std::size_t j = 0; j < n; ++j) sample[j] += part * mix[k * n + j];
    }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) covariance[i * n + j] += sample[i] * sample[j];
    }
  }
  double trace = 0;
  for (std::size_t i = 0; i < n; ++i) trace += covariance[i * n + i];
  std::vector<double> lower(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = covariance[i * n + j];
      if (i == j) sum += 0.01 * trace / static_cast<double>(n);
      for (std::size_t k = 0; k < j; ++k) sum -= lower[i * n + k] * lower[j * n + k];
      lower[i * n + j] = i == j ? std::sqrt(sum) : sum / lower[j * n + j];
    }
  }
  return lower;
}

}  // namespace cllm::lattice
