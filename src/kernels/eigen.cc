#include "cllm/kernels/eigen.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::kernels {
namespace {

/// Columns of the eigenvectors that a thread computes at a time: with a thousand rows they stay in
/// the second cache level.
constexpr std::size_t kStrip = 64;

/// Shifts for one eigenvalue; two or three are usual.
constexpr int kMostSweeps = 60;

/// H = 1 - factor v vᵀ, of which the first `index` + 1 elements of v are 0.
struct Reflection {
  std::size_t index;
  double factor;
  std::vector<double> v;  // those behind
};

/// Rows i and i + 1 are turned.
struct Rotation {
  std::uint32_t row;
  double cosine, sine;
};

/// The tridiagonal matrix that reflections have made: its diagonal, and what stands beside it.
struct Tridiagonal {
  std::vector<double> diagonal, beside;
};

double dot(const double* x, const double* y, std::size_t n) {
  return std::inner_product(x, x + n, y, 0.0);
}

/// The reflection that leaves of x (n) its first element alone, which becomes `first`.
Reflection reflection_of(std::size_t index, const double* x, std::size_t n, double& first) {
  Reflection h{index, 0, {x, x + n}};
  const double rest = dot(x + 1, x + 1, n - 1);
  first = x[0];
  if (rest == 0) return h;
  first = std::sqrt(x[0] * x[0] + rest) * (x[0] > 0 ? -1 : 1);  // so that no digits cancel
  h.v[0] = x[0] - first;
  h.factor = 2 / (h.v[0] * h.v[0] + rest);
  return h;
}

/// Reduces a (n, n) to tridiagonal form, column by column; what is below and right of it is used
/// up.
Tridiagonal reduce(const Kernels& kernels, std::span<double> a, std::size_t n,
                   std::vector<Reflection>& reflections) {
  Tridiagonal t{std::vector<double>(n), std::vector<double>(n)};
  std::vector<double> image(n);
  for (std::size_t k = 0; k < n; ++k) {
    t.diagonal[k] = a[k * n + k];
    const std::size_t m = n - k - 1;
    if (m == 0) break;
    const Reflection& h =
        reflections.emplace_back(reflection_of(k, &a[k * n + k + 1], m, t.beside[k]));
    if (h.factor == 0) continue;
    // A := H A H = A - v wᵀ - w vᵀ with p = factor A v and w = p - factor (pᵀv) v / 2.
    const auto row = [&](std::size_t i) { return &a[(k + 1 + i) * n + k + 1]; };
    std::fill_n(image.begin(), m, 0.0);
    for (std::size_t i = 0; i < m; ++i) kernels.add_scaled(h.v[i], row(i), image.data(), m);
    for (std::size_t i = 0; i < m; ++i) image[i] *= h.factor;
    const double overlap = h.factor * dot(image.data(), h.v.data(), m) / 2;
    kernels.add_scaled(-overlap, h.v.data(), image.data(), m);
    for (std::size_t i = 0; i < m; ++i) {
      kernels.add_scaled(-h.v[i], image.data(), row(i), m);
      kernels.add_scaled(-image[i], h.v.data(), row(i), m);
    }
  }
  return t;
}

/// One implicit QL sweep over rows first to last, which are coupled; the rotations that it makes.
void sweep(Tridiagonal& t, std::size_t first, std::size_t last, std::vector<Rotation>& rotations) {
  std::vector<double>&d = t.diagonal, &e = t.beside;
  // Wilkinson's shift: the eigenvalue of the upper corner's 2 x 2 that is nearer to its first.
  const double half = (d[first + 1] - d[first]) / (2 * e[first]);
  const double root = std::sqrt(half * half + 1);
  double g = d[last] - d[first] + e[first] / (half + (half >= 0 ? root : -root));
  double cosine = 1, sine = 1, taken = 0;
  for (std::size_t i = last; i-- > first;) {
    const double f = sine * e[i], b = cosine * e[i];
    const double length = std::sqrt(f * f + g * g);
    e[i + 1] = length;
    if (length == 0) {  // the matrix falls apart here
      d[i + 1] -= taken;
      e[last] = 0;
      return;
    }
    sine = f / length;
    cosine = g / length;
    g = d[i + 1] - taken;
    const double r = (d[i] - g) * sine + 2 * cosine * b;
    taken = sine * r;
    d[i + 1] = g + taken;
    g = cosine * r - b;
    rotations.push_back({static_cast<std::uint32_t>(i), cosine, sine});
  }
  d[first] -= taken;
  e[first] = g;
  e[last] = 0;
}

/// Makes the matrix diagonal.
std::vector<Rotation> diagonalise(Tridiagonal& t) {
  const std::size_t n = t.diagonal.size();
  std::vector<Rotation> rotations;
  const auto is_small = [&](std::size_t i) {
    const double near = std::abs(t.diagonal[i]) + std::abs(t.diagonal[i + 1]);
    return std::abs(t.beside[i]) <= std::numeric_limits<double>::epsilon() * near;
  };
  for (std::size_t first = 0; first < n; ++first) {
    for (int sweeps = 0;; ++sweeps) {
      std::size_t last = first;
      while (last + 1 < n && !is_small(last)) ++last;
      if (last == first) break;
      if (sweeps == kMostSweeps) {
        fail("an eigenvalue of a matrix of {} rows isn't found in {} steps", n, kMostSweeps);
      }
      sweep(t, first, last, rotations);
    }
  }
  return rotations;
}

}  // namespace

std::vector<double> symmetric_eigen(const Kernels& kernels, ThreadPool& pool, std::span<double> a,
                                    std::size_t n) {
  if (n == 0) return {};
  const auto is_finite = [](double x) { return std::isfinite(x); };
  if (!std::ranges::all_of(a, is_finite)) {
    fail("a matrix of {} rows has elements that are not finite, so it has no eigenvectors", n);
  }
  // Near 1, so that no square overflows or vanishes.
  double largest = 0;
  for (const double x : a) largest = std::max(largest, std::abs(x));
  const int exponent = largest == 0 ? 0 : std::ilogb(largest);
  for (double& x : a) x = std::ldexp(x, -exponent);

  std::vector<Reflection> reflections;
  Tridiagonal t = reduce(kernels, a, n, reflections);
  const std::vector<Rotation> rotations = diagonalise(t);

  // With A = Q T Qᵀ, Q the product of the reflections, and T = Z Λ Zᵀ, the rows of Zᵀ Qᵀ are the
  // eigenvectors. Each strip of its columns comes from the unit matrix' by itself.
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return t.diagonal[i]; });
  const std::size_t strips = (n + kStrip - 1) / kStrip;
  std::vector<std::vector<double>> rooms(static_cast<std::size_t>(pool.size()),
                                         std::vector<double>(n * kStrip + kStrip));
  pool.deal(strips, [&](std::size_t strip, std::size_t thread) {
    const std::size_t first = strip * kStrip, width = std::min(kStrip, n - first);
    double* const sums = rooms[thread].data();
    double* const rows = sums + kStrip;
    const auto row = [&](std::size_t i) { return rows + i * width; };
    std::fill_n(rows, n * width, 0.0);
    for (std::size_t j = 0; j < width; ++j) row(first + j)[j] = 1;
    for (const Reflection& h : reflections) {
      const std::size_t below = h.index + 1;
      std::fill_n(sums, width, 0.0);
      for (std::size_t i = 0; i < h.v.size(); ++i) {
        kernels.add_scaled(h.v[i], row(below + i), sums, width);
      }
      for (std::size_t i = 0; i < h.v.size(); ++i) {
        kernels.add_scaled(-h.factor * h.v[i], sums, row(below + i), width);
      }
    }
    for (const Rotation& r : rotations) {
      kernels.turn_rows(r.cosine, r.sine, row(r.row), row(r.row + 1), width);
    }
    for (std::size_t i = 0; i < n; ++i) {
      std::copy_n(row(order[i]), width, &a[i * n + first]);
    }
  });
  std::vector<double> values(n);
  std::ranges::transform(order, values.begin(),
                         [&](std::size_t i) { return std::ldexp(t.diagonal[i], exponent); });
  return values;
}

}  // namespace cllm::kernels
