#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/model/layout.h"
#include "cllm/model/places.h"

namespace cllm::train {

/// The loss of an evaluation.
struct Score {
  std::uint64_t step;
  double loss;  ///< nats per token
};

/// What training changes beside the flat buffers: the same on all ranks.
struct StateValues {
  /// Of Note [Exact sums]: for the next step, one for each row of the tiling; empty where there is
  /// no history.
  std::vector<std::int32_t> scale_exponents;
  /// Of recent steps, oldest first; see SpikeDetector.
  std::vector<double> gradient_norms;
  std::uint64_t not_finite_in_a_row = 0;  ///< newest steps whose gradient wasn't finite
  std::uint64_t step = 0;                 ///< steps that were taken
  std::uint64_t updates = 0;              ///< those of them that changed the parameters
  std::uint64_t sequences = 0;            ///< sequences of the data that were read
  std::uint64_t tokens_seen = 0;
  /// Times in a row that the run went back to the checkpoint of one step, and that step.
  std::uint64_t rollbacks = 0;
  std::uint64_t rollback_step = 0;
  std::optional<Score> validation;  ///< newest
  /// There was no memory for an evaluation that was due: the run that goes on makes up for it.
  bool lacks_evaluation = false;
  std::optional<Score> best;
  std::uint64_t evaluations_since_best = 0;  ///< after it, in a row
};

/// A buffer that an optimizer keeps from step to step, as it declares it.
struct BufferSpec {
  const char* name;          ///< the group of a checkpoint that has it: "/adam/m"
  bool (*has)(model::Role);  ///< whether the trained tensors of a role are in it
};

/// Such a buffer.
struct StateBuffer {
  StateBuffer(const model::Layout& layout, const BufferSpec& spec)
      : name(spec.name), places(layout, spec.has), values(places.size()) {}

  /// The first element of a tensor that is in it, by the tensor's index in the layout.
  float* of(std::size_t tensor) { return values.data() + places[tensor].value(); }

  std::string name;
  model::Places places;
  AlignedBuffer<float> values;
};

/// Everything that training changes: the parameters, a flat buffer, and what the optimizer keeps,
/// replicated on all ranks, and what goes with them.
struct State : StateValues {
  /// All zero. `buffers`: what the optimizer declares. Each of `threads` touches the part of each
  /// buffer that it will update, so that these lie near the processors that use them.
  State(const model::Layout& layout, std::span<const BufferSpec> buffers, int threads = 1);

  /// The parameters and all buffers, for what is done to each of them alike.
  std::vector<std::span<float>> floats();
  std::vector<std::span<const float>> floats() const;

  AlignedBuffer<float> parameters;
  std::vector<StateBuffer> buffers;  ///< in the order in which the optimizer declares them
};

/// Bytes of the buffers that an optimizer declares.
std::uint64_t bytes_of(const model::Layout& layout, std::span<const BufferSpec> buffers);

}  // namespace cllm::train
