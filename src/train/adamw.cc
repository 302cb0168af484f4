#include "cllm/train/adamw.h"

#include <algorithm>
#include <type_traits>

#include "cllm/base/elementary.h"
#include "cllm/train/width.h"

namespace cllm::train {
namespace {

/// Whether the tensor has the rate of the token embedding: its tables, and the bases of bands of
/// frequency; that of one rank for all learns as fast as the rest.
bool learns_as_embedding(const model::Layout& layout, std::size_t tensor) {
  if (layout.is_table(tensor)) return true;
  return layout.config().has_bands() &&
         std::ranges::any_of(layout.embedding(),
                             [&](const model::TableBand& band) { return band.basis == tensor; });
}

}  // namespace

void AdamWPass::update(const SummedGradient& gradient, double learning_rate, double scale,
                       State& state, StateBuffer& m, StateBuffer& v) {
  const double taken = static_cast<double>(state.updates) + 1;
  const kernels::AdamWStep common{
      .learning_rate = static_cast<float>(learning_rate),
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .epsilon = static_cast<float>(options_.epsilon),
      .weight_decay = 0.0f,
      .bias_correction1 = static_cast<float>(1 - power(options_.beta1, taken)),
      .bias_correction2 = static_cast<float>(1 - power(options_.beta2, taken)),
      .gradient_scale = 1.0f};
  parts_.pool.share(chunks_.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    const RowChunks::Chunk& chunk = chunks_[i];
    const model::Tensor& tensor = parts_.layout[chunk.tensor];
    kernels::AdamWStep step = common;
    double rate = learning_rate;
    if (learns_as_embedding(parts_.layout, chunk.tensor)) rate *= options_.embedding_learning_rate;
    if (options_.scales_with_width) {
      rate *= adamw_width_factor(tensor.role, parts_.layout.config());
    }
    step.learning_rate = static_cast<float>(rate);
    if (tensor.role != model::Role::kVector) {
      step.weight_decay = static_cast<float>(options_.weight_decay);
    }
    for (std::size_t row = chunk.first_row; row < chunk.end_row; ++row) {
      const SumRow& place = parts_.rows.rows[row];
      visit_row(gradient, place, scale,
                [&](std::size_t first, const auto* values, std::size_t count, float factor) {
                  step.gradient_scale = factor;
                  const std::size_t at = place.at + first;
                  const auto kernel = [&] {
                    if constexpr (std::is_same_v<decltype(values), const float*>) {
                      return parts_.kernels.adamw;
                    } else {
                      return parts_.kernels.adamw_integers;
                    }
                  }();
                  float* const parameters = state.parameters.data() + at;
                  float* const means = m.at(chunk.tensor, at);
                  float* const squares = v.at(chunk.tensor, at);
                  parts_.change(place, parameters, count, [&](std::size_t from, std::size_t size) {
                    kernel(parameters + from, means + from, squares + from, values + from, size,
                           step);
                  });
                });
    }
  });
}

}  // namespace cllm::train
