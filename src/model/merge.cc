#include "cllm/model/merge.h"

#include <algorithm>
#include <cassert>
#include <vector>

namespace cllm::model {
namespace {

/// Adds the product of an adapter to its rows of the matrix that begins at `matrix`.
void add_product(const Layout& layout, const AdapterTensors& adapter,
                 std::span<const float> parameters, float* matrix) {
  const double scale = layout.config().lora.scale();
  const std::size_t columns = layout[adapter.matrix].columns, rank = layout[adapter.a].rows;
  const float* const a = parameters.data() + layout[adapter.a].offset;
  const float* const b = parameters.data() + layout[adapter.b].offset;
  std::vector<double> sum(columns);
  for (std::size_t row = 0; row < adapter.rows; ++row) {
    std::ranges::fill(sum, 0.0);
    for (std::size_t k = 0; k < rank; ++k) {
      const double factor = scale * static_cast<double>(b[row * rank + k]);
      for (std::size_t i = 0; i < columns; ++i) {
        sum[i] += factor * static_cast<double>(a[k * columns + i]);
      }
    }
    float* const w = matrix + (adapter.first_row + row) * columns;
    for (std::size_t i = 0; i < columns; ++i) {
      w[i] = static_cast<float>(static_cast<double>(w[i]) + sum[i]);
    }
  }
}

/// The indices of the tensors that are no adapters, in the order of the layout.
std::vector<std::size_t> base_tensors(const Layout& layout) {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    if (!layout[i].is_adapter) indices.push_back(i);
  }
  return indices;
}

}  // namespace

ModelConfig without_adapters(ModelConfig config) {
  config.lora = {};
  return config;
}

void merge(const Layout& from, std::span<const float> parameters, const Layout& to,
           std::span<float> merged) {
  assert(without_adapters(from.config()) == without_adapters(to.config()));
  const std::vector<std::size_t> sources = base_tensors(from), targets = base_tensors(to);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    float* const values = merged.data() + to[targets[i]].offset;
    std::copy_n(parameters.data() + from[sources[i]].offset, from[sources[i]].size(), values);
    for (const AdapterTensors& adapter : from.adapters_of(sources[i])) {
      add_product(from, adapter, parameters, values);
    }
  }
}

std::span<float> base_of(const Layout& layout, std::span<float> parameters) {
  return parameters.subspan(layout.trained_size());
}

}  // namespace cllm::model
