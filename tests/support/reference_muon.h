#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "cllm/model/layout.h"
#include "support/reference_adamw.h"

namespace cllm::support {

/// A matrix in double, and products of it as they are defined.
struct ReferenceMatrix {
  ReferenceMatrix(std::size_t r, std::size_t c) : rows(r), columns(c), values(r * c) {}
  double& operator()(std::size_t i, std::size_t j) { return values[i * columns + j]; }
  double operator()(std::size_t i, std::size_t j) const { return values[i * columns + j]; }

  std::size_t rows, columns;
  std::vector<double> values;
};

inline ReferenceMatrix transposed(const ReferenceMatrix& a) {
  ReferenceMatrix result(a.columns, a.rows);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) result(j, i) = a(i, j);
  }
  return result;
}

inline ReferenceMatrix product(const ReferenceMatrix& a, const ReferenceMatrix& b) {
  ReferenceMatrix result(a.rows, b.columns);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t k = 0; k < a.columns; ++k) {
      for (std::size_t j = 0; j < b.columns; ++j) result(i, j) += a(i, k) * b(k, j);
    }
  }
  return result;
}

/// a x + b x³ + c x⁵ of singular values.
struct ReferenceQuintic {
  double a = 3.4445, b = -4.7750, c = 2.0315;
};

/// What Muon makes of a matrix (Jordan et al., 2024): it is divided by its norm times `safety`, and
/// goes through the polynomials one after the other, X <- a X + b (X Xᵀ) X + c (X Xᵀ)² X. `touch`
/// gets X after each.
template <typename Touch>
ReferenceMatrix reference_orthogonal(ReferenceMatrix x, std::span<const ReferenceQuintic> quintics,
                                     double safety, const Touch& touch) {
  double squares = 0;
  for (const double value : x.values) squares += value * value;
  for (double& value : x.values) value /= std::sqrt(squares) * safety + 1e-7;
  for (const ReferenceQuintic& q : quintics) {
    const ReferenceMatrix xxt = product(x, transposed(x));
    const ReferenceMatrix cubed = product(xxt, x);
    const ReferenceMatrix fifth = product(xxt, cubed);
    for (std::size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = q.a * x.values[i] + q.b * cubed.values[i] + q.c * fifth.values[i];
    }
    touch(x, q);
  }
  return x;
}

inline ReferenceMatrix reference_orthogonal(const ReferenceMatrix& x,
                                            std::span<const ReferenceQuintic> quintics,
                                            double safety = 1) {
  return reference_orthogonal(x, quintics, safety,
                              [](ReferenceMatrix&, const ReferenceQuintic&) {});
}

struct ReferenceMuonOptions {
  double momentum, weight_decay;
  double size = 0.2;
  bool nesterov = true;
  std::vector<ReferenceQuintic> quintics = std::vector<ReferenceQuintic>(5);
};

/// Muon in double, written like the mathematics, of one matrix: with the scale of updates that
/// "Muon is Scalable for LLM Training" (arXiv 2502.16982) gives them.
class ReferenceMuon {
 public:
  ReferenceMuon(std::size_t rows, std::size_t columns, const ReferenceMuonOptions& options)
      : options_(options), m_(rows, columns) {}

  /// W -= rate (size √max(rows, columns) O + decay W). Momentum is that of this step.
  void step(ReferenceMatrix& w, const ReferenceMatrix& gradient, double rate, double momentum) {
    ReferenceMatrix direction = gradient;
    for (std::size_t i = 0; i < m_.values.size(); ++i) {
      m_.values[i] = momentum * m_.values[i] + gradient.values[i];
      direction.values[i] =
          options_.nesterov ? gradient.values[i] + momentum * m_.values[i] : m_.values[i];
    }
    const ReferenceMatrix o = reference_orthogonal(direction, options_.quintics);
    const double size = options_.size * std::sqrt(static_cast<double>(std::max(w.rows, w.columns)));
    for (std::size_t i = 0; i < w.values.size(); ++i) {
      w.values[i] -= rate * (size * o.values[i] + options_.weight_decay * w.values[i]);
    }
  }

 private:
  ReferenceMuonOptions options_;
  ReferenceMatrix m_;
};

}  // namespace cllm::support
