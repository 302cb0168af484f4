#include "cllm/lattice/coded_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "bytes.h"
#include "cllm/base/error.h"

namespace cllm::lattice {
std::string CodedMatrix::pack() const {
  std::vector<std::int32_t> exponents(steps.columns.begin(), steps.columns.end());
  exponents.insert(exponents.end(), steps.rows.begin(), steps.rows.end());
  const std::string coded = encode_coordinates(exponents, 1, LatticeKind::kIntegers);
  std::string bytes;
  append(bytes, steps.step);
  append(bytes, static_cast<std::uint32_t>(coded.size()));
  return bytes + coded + coordinates;
}

CodedMatrix CodedMatrix::unpack(std::string_view bytes, std::size_t rows, std::size_t columns) {
  CodedMatrix matrix;
  matrix.steps.step = take<float>(bytes);
  if (!std::isfinite(matrix.steps.step) || matrix.steps.step <= 0) {
    fail("the step of the codes is not a positive number");
  }
  const auto size = take<std::uint32_t>(bytes);
  if (size > bytes.size()) fail("the codes are shorter than their exponents");
  std::vector<std::int32_t> exponents(columns + rows);
  decode_coordinates(bytes.substr(0, size), 1, LatticeKind::kIntegers, exponents);
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    if (exponents[i] < 0 || exponents[i] > std::numeric_limits<std::uint8_t>::max()) {
      fail("an exponent of the codes is {}, and they are from 0 to 255", exponents[i]);
    }
    (i < columns ? matrix.steps.columns : matrix.steps.rows)
        .push_back(static_cast<std::uint8_t>(exponents[i]));
  }
  matrix.coordinates = bytes.substr(size);
  return matrix;
}

void CodedMatrix::decode(LatticeKind kind, std::span<float> weights) const {
  std::vector<std::int32_t> points(weights.size());
  decode_coordinates(coordinates, steps.columns.size(), kind, points);
  steps.dequantize(points, kind, weights);
  if (!std::ranges::all_of(weights, [](float w) { return std::isfinite(w); })) {
    fail("the codes stand for a weight that is not finite");
  }
}

CodedMatrix code_matrix(const WeightLattice& lattice, std::span<const float> weights, double side,
                        int threads) {
  std::vector<std::int32_t> points(weights.size());
  CodedMatrix matrix{.steps = lattice.steps(side), .coordinates = {}};
  lattice.quantize(weights, matrix.steps, threads, points);
  matrix.coordinates = encode_coordinates(points, lattice.columns(), lattice.kind());
  return matrix;
}

double find_side(const std::function<double(double side)>& rate, double most) {
  constexpr double kEnough = 0.99;
  constexpr int kMostTrials = 40;
  // log2 of sides with a rate that is low enough, and of ones where it is too high.
  double enough = std::numeric_limits<double>::infinity(), too_small = -enough;
  double log_side = 0;
  for (int trial = 0; trial < kMostTrials; ++trial) {
    const double found = rate(std::exp2(log_side));
    if (found <= most) {
      enough = std::min(enough, log_side);
      if (found >= kEnough * most) break;
    } else {
      too_small = std::max(too_small, log_side);
    }
    if (enough - too_small < 1e-4) break;
    // One bit an octave, but where few bits are left; and never beyond what is known.
    log_side += std::clamp(found - (1 + kEnough) / 2 * most, -8.0, 8.0);
    if (!(log_side > too_small && log_side < enough)) log_side = (too_small + enough) / 2;
  }
  if (!std::isfinite(enough)) fail("no step makes the weights take {} bits each", most);
  return std::exp2(enough);
}

}  // namespace cllm::lattice
