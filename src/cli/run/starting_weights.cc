#include "cllm/cli/run/starting_weights.h"

#include "cllm/base/aligned_buffer.h"
#include "cllm/model/initialize.h"
#include "cllm/model/merge.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/saved_state.h"

namespace cllm::cli {
namespace {

bool is_merged(const StartingPoint& start) {
  return start.kind == StartingPoint::Kind::kInitial && start.model.lora.rank > 0;
}

/// The weights of --init-from.
void read_weights(const StartingPoint& start, const model::Layout& layout,
                  std::span<float> parameters, ranks::ProcessGroup& process_group) {
  const bool has_adapters = layout.config().lora.rank > 0;
  if (is_merged(start)) {
    const model::Layout from(start.model);
    AlignedBuffer<float> read;
    ranks::in_agreement(process_group, [&] { read = AlignedBuffer<float>(from.flat_size()); });
    train::read_parameters(start.checkpoint, from, read.span(), process_group);
    model::merge(from, read.span(), layout, parameters);
  } else if (has_adapters) {
    train::read_parameters(start.checkpoint,
                           model::Layout(model::without_adapters(layout.config())),
                           model::base_of(layout, parameters), process_group);
  } else {
    train::read_parameters(start.checkpoint, layout, parameters, process_group);
  }
}

}  // namespace

void fill_state(const StartingPoint& start, const model::Layout& layout, std::uint64_t seed,
                int threads, train::State& state, ranks::ProcessGroup& process_group) {
  const std::span<float> parameters = state.parameters.span();
  switch (start.kind) {
    case StartingPoint::Kind::kNew:
      return ranks::in_agreement(process_group,
                                 [&] { model::initialize(layout, seed, parameters, threads); });
    case StartingPoint::Kind::kInitial:
      read_weights(start, layout, parameters, process_group);
      return ranks::in_agreement(
          process_group, [&] { model::initialize_adapters(layout, seed, parameters, threads); });
    case StartingPoint::Kind::kResumed:
      return train::restore(start.checkpoint, layout, state, process_group);
  }
}

std::uint64_t filling_bytes(const StartingPoint& start) {
  return is_merged(start) ? model::Layout(start.model).flat_size() * sizeof(float) : 0;
}

}  // namespace cllm::cli
