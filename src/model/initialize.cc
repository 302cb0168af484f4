#include "cllm/model/initialize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "cllm/base/parallel.h"
#include "cllm/base/random.h"

namespace cllm::model {
namespace {

/// Values drawn from one stream of random numbers: what a thread draws at a time.
constexpr std::size_t kChunk = std::size_t{1} << 16;

void draw_normal(const Tensor& tensor, std::size_t index, std::uint64_t seed, double deviation,
                 float* values, int threads) {
  const std::size_t chunks = (tensor.size() + kChunk - 1) / kChunk;
  parallel(threads, [&](int thread) {
    for (auto chunk = static_cast<std::size_t>(thread); chunk < chunks;
         chunk += static_cast<std::size_t>(threads)) {
      RandomStream random(seed, static_cast<std::uint64_t>(index) << 32 | chunk);
      const std::size_t end = std::min(tensor.size(), (chunk + 1) * kChunk);
      for (std::size_t i = chunk * kChunk; i < end; ++i) {
        values[i] = static_cast<float>(deviation * random.normal());
      }
    }
  });
}

}  // namespace

void initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters,
                int threads) {
  std::ranges::fill(parameters, 0.0f);
  const double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(layout.config().layers));
  for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
    const Tensor& tensor = layout[index];
    float* values = parameters.data() + tensor.offset;
    switch (tensor.initial) {
      case Initial::kZero:
        break;
      case Initial::kOne:
        std::fill_n(values, tensor.size(), 1.0f);
        break;
      case Initial::kNormal:
        draw_normal(tensor, index, seed, 0.02, values, threads);
        break;
      case Initial::kResidualNormal:
        draw_normal(tensor, index, seed, residual, values, threads);
        break;
    }
  }
}

}  // namespace cllm::model
