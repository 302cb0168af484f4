#include "cllm/compress/compress.h"

#include <fmt/format.h>

#include <utility>

#include "cllm/base/error.h"
#include "cllm/lattice/certificates/certificate_code.h"
#include "cllm/lattice/coded_matrix.h"

namespace cllm::compress {
namespace {

constexpr double kBitsPerByte = 8;

/// A matrix that is being compressed.
struct Matrix {
  std::size_t tensor;
  const model::Tensor& shape;
  std::span<const float> weights;
  lattice::WeightLattice lattice;
  std::string codes;  // packed

  /// Codes it with cells of this side; returns the bits that it takes.
  double code(double side, int threads) {
    codes = lattice::code_matrix(lattice, weights, side, threads).pack();
    return kBitsPerByte * static_cast<double>(codes.size());
  }

  MatrixReport report(int threads) const {
    std::vector<float> errors(weights.size());
    lattice::CodedMatrix::unpack(codes, shape.rows, shape.columns).decode(lattice.kind(), errors);
    for (std::size_t i = 0; i < errors.size(); ++i) errors[i] -= weights[i];
    const auto count = static_cast<double>(weights.size());
    return {.name = shape.name,
            .weights = weights.size(),
            .bits = kBitsPerByte * static_cast<double>(codes.size()) / count,
            .loss = lattice.energy(errors, threads) / 2};
  }
};

}  // namespace

std::uint64_t compress_bytes(const model::Layout& layout) {
  // A covariance in double; and of a lattice that and the feedback, in float: as much again.
  return 2 * statistics_bytes(layout);
}

CompressedParameters compress(const model::Layout& layout, std::span<const float> parameters,
                              std::span<const MatrixStatistics> statistics,
                              const CompressOptions& options,
                              const std::function<void(const std::string&)>& progress) {
  const auto tell = [&](const std::string& what) {
    if (progress) progress(what);
  };
  std::vector<Matrix> matrices;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    const model::Tensor& tensor = layout[i];
    if (!tensor.is_matrix()) continue;
    tell("lattice of " + tensor.name);
    const MatrixStatistics& s = statistics[i];
    try {
      matrices.push_back({.tensor = i,
                          .shape = tensor,
                          .weights = parameters.subspan(tensor.offset, tensor.size()),
                          .lattice = lattice::WeightLattice(
                              s.covariance.span(), s.weights,
                              {.method = options.method, .spacing = options.spacing}),
                          .codes = {}});
    } catch (const Error& error) {
      fail("{} has no lattice ({}); give --calibrate a text like what the model was trained on",
           tensor.name, error.what());
    }
  }

  const auto code_at_rate = [&](std::span<Matrix> together, const std::string& what) {
    double count = 0;
    for (const Matrix& matrix : together) count += static_cast<double>(matrix.weights.size());
    int trial = 0;
    const auto rate = [&](double side) {
      ++trial;
      double bits = 0;
      for (Matrix& matrix : together) {
        tell(fmt::format("trial {}, {}", trial, matrix.shape.name));
        bits += matrix.code(side, options.threads);
      }
      return bits / count;
    };
    try {
      rate(lattice::find_side(rate, options.bits));
    } catch (const Error& error) {
      fail("--bits {}: {} in {}; give more", options.bits, error.what(), what);
    }
  };
  if (options.spacing == lattice::Spacing::kShaped) {
    code_at_rate(matrices, "all matrices");
  } else {
    for (Matrix& matrix : matrices) {
      code_at_rate({&matrix, 1}, matrix.shape.name);
    }
  }

  CompressedParameters result;
  result.matrices.method = options.method;
  result.matrices.codes.resize(layout.tensors().size());
  result.matrices.certificates.resize(layout.tensors().size());
  for (Matrix& matrix : matrices) {
    result.reports.push_back(matrix.report(options.threads));
    if (options.method == lattice::Method::kReducedBabai) {
      result.matrices.certificates[matrix.tensor] =
          lattice::encode_certificates(matrix.lattice.certificates());
    }
    result.matrices.codes[matrix.tensor] = std::move(matrix.codes);
  }
  return result;
}

}  // namespace cllm::compress
