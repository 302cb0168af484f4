#include "cllm/lattice/weight_lattice.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>

#include "block_decoder.h"
#include "cllm/base/error.h"
#include "cllm/base/parallel.h"
#include "cllm/kernels/blas.h"
#include "cllm/lattice/cholesky.h"
#include "cllm/lattice/reduce.h"

namespace cllm::lattice {
namespace {

/// Exponents are eighths of an octave: with steps off by at most 4 %, the mean error is off by
/// under 0.1 %.
constexpr int kStepsPerOctave = 8;

/// Rows that a thread takes at a time.
constexpr std::size_t kRowChunk = 64;

/// Digits of the integer basis that LLL reduces. Coarse, since certificates are stored.
constexpr int kBasisBits = 10;

using kernels::sgemm;
using enum kernels::Transpose;

/// Calls work(first, count) for chunks of rows, on several threads, and throws what one of them
/// throws.
template <typename Work>
void for_chunks(std::size_t rows, int threads, const Work& work) {
  const std::size_t chunks = (rows + kRowChunk - 1) / kRowChunk;
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::optional<std::string> problem;
  const auto most = static_cast<int>(std::clamp<std::size_t>(chunks, 1, 1U << 20));
  parallel(std::min(threads, most), [&](int) {
    for (std::size_t chunk = next++; chunk < chunks; chunk = next++) {
      const std::size_t first = chunk * kRowChunk;
      try {
        work(first, std::min(kRowChunk, rows - first));
      } catch (const std::exception& error) {
        const std::scoped_lock lock(mutex);
        problem = error.what();
        next = chunks;
      }
    }
  });
  if (problem) fail("{}", *problem);
}

}  // namespace

std::string_view name_of(Method method) {
  constexpr std::array<std::string_view, 4> kNames = {"rounding", "babai", "lll", "e8"};
  return kNames.at(static_cast<std::size_t>(method));
}

LatticeKind kind_of(Method method) {
  return method == Method::kE8 ? LatticeKind::kE8 : LatticeKind::kIntegers;
}

std::vector<float> MatrixSteps::relative(std::span<const std::uint8_t> of) {
  // 2^(-i/8) by multiplication of constants, not by a library's exp2.
  std::array<double, kStepsPerOctave> fractions{};
  for (unsigned i = 0; i < kStepsPerOctave; ++i) {
    constexpr double kEighth = 0.91700404320467121, kQuarter = 0.84089641525371454;
    constexpr double kHalf = 0.70710678118654752;
    fractions[i] = ((i & 1) != 0 ? kEighth : 1.0) * ((i & 2) != 0 ? kQuarter : 1.0) *
                   ((i & 4) != 0 ? kHalf : 1.0);
  }
  std::vector<float> steps;
  for (const std::uint8_t exponent : of) {
    steps.push_back(static_cast<float>(
        std::ldexp(fractions[exponent % kStepsPerOctave], -(exponent / kStepsPerOctave))));
  }
  return steps;
}

void MatrixSteps::dequantize(std::span<const std::int32_t> coordinates, LatticeKind kind,
                             std::span<float> weights) const {
  const float unit = kind == LatticeKind::kE8 ? step / 2 : step;
  const std::vector<float> of_rows = relative(rows), of_columns = relative(columns);
  const std::size_t n = columns.size();
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const float of_row = unit * of_rows[row];
    for (std::size_t i = 0; i < n; ++i) {
      weights[row * n + i] =
          static_cast<float>(coordinates[row * n + i]) * (of_row * of_columns[i]);
    }
  }
}

WeightLattice::WeightLattice(std::span<const double> covariance,
                             std::span<const double> row_weights, const Options& options)
    : columns_(static_cast<std::size_t>(std::llround(std::sqrt(covariance.size())))),
      options_(options),
      row_weights_(row_weights.begin(), row_weights.end()),
      covariance_(covariance.size()),
      feedback_(options.method == Method::kRounding ? 0 : covariance.size()) {
  double trace = 0;
  for (std::size_t i = 0; i < columns_; ++i) trace += covariance[i * columns_ + i];
  // Where no input was ever anything but 0, all lattices are as good.
  const double shift = trace > 0 ? options.damping * trace / static_cast<double>(columns_) : 1.0;
  for (std::size_t i = 0; i < covariance.size(); ++i) {
    covariance_[i] = static_cast<float>(covariance[i]);
  }
  std::vector<double> lower = cholesky(covariance, columns_, shift);
  choose_exponents(lower);
  const std::vector<float> steps = MatrixSteps::relative(shape_.columns);
  for (std::size_t i = 0; i < columns_; ++i) {
    for (std::size_t j = 0; j <= i; ++j) lower[i * columns_ + j] *= static_cast<double>(steps[i]);
  }
  prepare_blocks(lower);
}

WeightLattice::WeightLattice(WeightLattice&&) noexcept = default;
WeightLattice::~WeightLattice() = default;

void WeightLattice::choose_exponents(std::span<const double> lower) {
  std::vector<double> columns(columns_), rows;
  for (std::size_t i = 0; i < columns_; ++i) {
    // Rounding knows the diagonal of H alone.
    double squares = 0;
    for (std::size_t j = 0; j <= i; ++j) {
      squares += lower[i * columns_ + j] * lower[i * columns_ + j];
    }
    columns[i] =
        options_.method == Method::kRounding ? std::sqrt(squares) : lower[i * columns_ + i];
  }
  for (const double weight : row_weights_) rows.push_back(std::sqrt(weight));
  // Of lengths, the exponents of 1/length, with 0 for the largest step; returns that one.
  const auto choose = [&](const std::vector<double>& lengths, std::vector<std::uint8_t>& chosen) {
    const double shortest = *std::ranges::min_element(lengths);
    double octaves_of_all = 0;
    for (const double length : lengths) {
      const double octaves = std::log2(length / shortest);
      octaves_of_all += octaves;
      chosen.push_back(
          static_cast<std::uint8_t>(std::clamp(std::round(octaves * kStepsPerOctave), 0.0, 255.0)));
    }
    if (options_.spacing == Spacing::kShaped) return 1 / shortest;
    std::ranges::fill(chosen, std::uint8_t{0});
    return std::exp2(-octaves_of_all / static_cast<double>(lengths.size())) / shortest;
  };
  micro_batch_ = choose(columns, shape_.columns) * choose(rows, shape_.rows);
}

MatrixSteps WeightLattice::steps(double side) const {
  MatrixSteps steps = shape_;
  steps.step = static_cast<float>(micro_batch_ * side);
  return steps;
}

std::size_t WeightLattice::block_end(std::size_t begin) const {
  return std::min(columns_, begin + options_.block);
}

void WeightLattice::prepare_blocks(std::span<const double> lower) {
  const std::size_t n = columns_;
  for (std::size_t begin = 0; begin < n; begin = block_end(begin)) {
    const std::size_t end = block_end(begin), size = end - begin;
    std::vector<double> own(size * size);
    for (std::size_t i = 0; i < size; ++i) {
      std::copy_n(&lower[(begin + i) * n + begin], size, &own[i * size]);
    }
    switch (options_.method) {
      case Method::kRounding:
        decoders_.push_back(std::make_unique<RoundingDecoder>(size));
        continue;
      case Method::kBabai:
        decoders_.push_back(std::make_unique<PlaneDecoder>(own, size));
        break;
      case Method::kReducedBabai:
        certificates_.push_back(reduce_cholesky(own, size, kBasisBits));
        decoders_.push_back(std::make_unique<PlaneDecoder>(own, certificates_.back()));
        break;
      case Method::kE8:
        decoders_.push_back(std::make_unique<E8Decoder>(own, size));
        break;
    }
    // feedback = L[after, block] L[block, block]^-1: the error of later columns, seen in the
    // block's subspace, in the block's own coordinates.
    std::vector<double> solved(size);
    for (std::size_t k = end; k < n; ++k) {
      for (std::size_t j = size; j-- > 0;) {
        double sum = lower[k * n + begin + j];
        for (std::size_t i = j + 1; i < size; ++i) sum -= solved[i] * own[i * size + j];
        solved[j] = sum / own[j * size + j];
        feedback_[k * n + begin + j] = static_cast<float>(solved[j]);
      }
    }
  }
}

void WeightLattice::quantize(std::span<const float> weights, const MatrixSteps& steps, int threads,
                             std::span<std::int32_t> coordinates) const {
  const std::size_t n = columns_;
  const float unit = kind() == LatticeKind::kE8 ? 0.5f : 1.0f;
  const std::vector<float> of_rows = MatrixSteps::relative(steps.rows);
  std::vector<float> inverse = MatrixSteps::relative(steps.columns);
  for (float& value : inverse) value = 1 / (value * steps.step);
  for_chunks(rows(), threads, [&](std::size_t first, std::size_t count) {
    std::vector<float> scaled(count * n), errors(count * n), targets;
    for (std::size_t i = 0; i < count * n; ++i) {
      scaled[i] = weights[first * n + i] * inverse[i % n] / of_rows[first + i / n];
    }
    for (std::size_t block = decoders_.size(); block-- > 0;) {
      const std::size_t begin = block * options_.block, end = block_end(begin), size = end - begin;
      targets.resize(count * size);
      for (std::size_t row = 0; row < count; ++row) {
        std::copy_n(&scaled[row * n + begin], size, &targets[row * size]);
      }
      if (end < n && options_.method != Method::kRounding) {
        sgemm(kNo, kNo, count, size, n - end, 1.0f, errors.data() + end, n,
              feedback_.data() + end * n + begin, n, 1.0f, targets.data(), size);
      }
      std::int32_t* found = coordinates.data() + first * n + begin;
      decoders_[block]->decode(targets, found, n);
      for (std::size_t row = 0; row < count; ++row) {
        for (std::size_t i = 0; i < size; ++i) {
          const float value = unit * static_cast<float>(found[row * n + i]);
          errors[row * n + begin + i] = scaled[row * n + begin + i] - value;
        }
      }
    }
  });
}

double WeightLattice::energy(std::span<const float> values, int threads) const {
  const std::size_t n = columns_;
  std::vector<double> of_rows(rows());  // summed in order, whatever the threads
  for_chunks(rows(), threads, [&](std::size_t first, std::size_t count) {
    std::vector<float> product(count * n);
    const float* x = values.data() + first * n;
    sgemm(kNo, kNo, count, n, n, 1.0f, x, n, covariance_.data(), n, 0.0f, product.data(), n);
    for (std::size_t i = 0; i < count * n; ++i) {
      of_rows[first + i / n] += static_cast<double>(product[i]) * static_cast<double>(x[i]);
    }
  });
  return std::inner_product(of_rows.begin(), of_rows.end(), row_weights_.begin(), 0.0);
}

}  // namespace cllm::lattice
