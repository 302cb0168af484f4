#include "cllm/model/initialize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "cllm/base/parallel.h"
#include "cllm/base/random.h"

namespace cllm::model {
namespace {

/// Values drawn from one stream of random numbers: what a thread draws at a time.
constexpr std::size_t kChunk = std::size_t{1} << 16;

constexpr double kDeviation = 0.02;
constexpr double kUntiedDeviation = 2;

/// Fills the tensor with draw(random), which each thread calls with streams of its own.
template <typename Draw>
void fill(const Tensor& tensor, std::size_t stream, std::uint64_t seed, float* values, int threads,
          const Draw& draw) {
  const std::size_t chunks = (tensor.size() + kChunk - 1) / kChunk;
  parallel(threads, [&](int thread) {
    for (auto chunk = static_cast<std::size_t>(thread); chunk < chunks;
         chunk += static_cast<std::size_t>(threads)) {
      RandomStream random(seed, static_cast<std::uint64_t>(stream) << 32 | chunk);
      const std::size_t end = std::min(tensor.size(), (chunk + 1) * kChunk);
      for (std::size_t i = chunk * kChunk; i < end; ++i) {
        values[i] = static_cast<float>(draw(random));
      }
    }
  });
}

void draw_normal(const Tensor& tensor, std::size_t stream, std::uint64_t seed, double deviation,
                 float* values, int threads) {
  fill(tensor, stream, seed, values, threads,
       [=](RandomStream& random) { return deviation * random.normal(); });
}

/// Within the root of `squares` / columns.
void draw_uniform(const Tensor& tensor, std::size_t stream, std::uint64_t seed, double squares,
                  float* values, int threads) {
  const double bound = std::sqrt(squares / static_cast<double>(tensor.columns));
  fill(tensor, stream, seed, values, threads,
       [=](RandomStream& random) { return bound * (2 * random.uniform() - 1); });
}

/// Makes the rows orthonormal, by Gram and Schmidt's method in the form that is stable. Each row is
/// drawn at random and there are no more rows than columns, so none is in the span of the others.
void orthonormalise(std::size_t rows, std::size_t columns, float* values) {
  std::vector<double> basis(rows * columns);
  std::copy_n(values, rows * columns, basis.begin());
  for (std::size_t i = 0; i < rows; ++i) {
    double* const row = &basis[i * columns];
    for (std::size_t j = 0; j < i; ++j) {
      const double* const other = &basis[j * columns];
      const double overlap = std::inner_product(row, row + columns, other, 0.0);
      for (std::size_t k = 0; k < columns; ++k) row[k] -= overlap * other[k];
    }
    const double norm = std::sqrt(std::inner_product(row, row + columns, row, 0.0));
    for (std::size_t k = 0; k < columns; ++k) row[k] /= norm;
  }
  std::ranges::transform(basis, values, [](double x) { return static_cast<float>(x); });
}

}  // namespace

double embedding_deviation(const ModelConfig& config, std::size_t rank) {
  return (config.parts.tied ? kDeviation : kUntiedDeviation) *
         std::sqrt(static_cast<double>(config.channels) / static_cast<double>(rank));
}

namespace {

/// The number of the random numbers that a tensor is drawn with. All tensors behind a table of
/// bands have those that they have behind a dense one: so only the table is another.
std::size_t stream_of(const Layout& layout, std::size_t index) {
  constexpr std::size_t kBands = std::size_t{1} << 24;  // above all numbers of tensors
  if (!layout.config().has_bands()) return index;
  const TableBand& last = layout.embedding().back();
  const std::size_t table = last.basis.value_or(last.tensor);
  return index > table ? index - table : kBands + index;
}

/// Fills one tensor. `values` are its own.
void draw(const Layout& layout, std::size_t index, std::uint64_t seed, float* values, int threads) {
  const ModelConfig& config = layout.config();
  const Tensor& tensor = layout[index];
  const std::size_t stream = stream_of(layout, index);
  const double residual = kDeviation / std::sqrt(2.0 * static_cast<double>(config.layers));
  switch (tensor.initial) {
    case Initial::kZero:
      std::fill_n(values, tensor.size(), 0.0f);
      break;
    case Initial::kOne:
      std::fill_n(values, tensor.size(), 1.0f);
      break;
    case Initial::kNormal:
      draw_normal(tensor, stream, seed, kDeviation, values, threads);
      break;
    case Initial::kResidualNormal:
      draw_normal(tensor, stream, seed, residual, values, threads);
      break;
    case Initial::kUniform:
      draw_uniform(tensor, stream, seed, 3.0, values, threads);
      break;
    case Initial::kEmbedding:
    case Initial::kCodes:
      draw_normal(tensor, stream, seed, embedding_deviation(config, tensor.columns), values,
                  threads);
      break;
    case Initial::kBasis:
      draw_normal(tensor, stream, seed, 1.0, values, threads);
      orthonormalise(tensor.rows, tensor.columns, values);
      break;
    case Initial::kLeading:
      std::fill_n(values, tensor.size(), 0.0f);
      for (std::size_t row = 0; row < tensor.rows; ++row) values[row * tensor.columns + row] = 1;
      break;
    case Initial::kAdapter:
      draw_uniform(tensor, stream, seed, 1.0, values, threads);
      break;
  }
}

}  // namespace

void initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters,
                int threads) {
  std::ranges::fill(parameters, 0.0f);
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    draw(layout, i, seed, parameters.data() + layout[i].offset, threads);
  }
}

void initialize_adapters(const Layout& layout, std::uint64_t seed, std::span<float> parameters,
                         int threads) {
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    if (!layout[i].is_adapter) continue;
    draw(layout, i, seed, parameters.data() + layout[i].offset, threads);
  }
}

}  // namespace cllm::model
