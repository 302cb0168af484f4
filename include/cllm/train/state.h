#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/thread_pool.h"
#include "cllm/model/layout.h"
#include "cllm/model/places.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/ownership.h"

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

/// Such a buffer: what a rank owns of the tensors that are in it.
class StateBuffer {
 public:
  StateBuffer(const model::Layout& layout, const BufferSpec& spec, const Ownership& ownership);

  const std::string& name() const { return name_; }
  std::span<float> values() { return values_.span(); }
  std::span<const float> values() const { return values_.span(); }
  /// Whether the tensor is in it, of whichever rank.
  bool has(std::size_t tensor) const { return has_[tensor]; }
  /// What goes with an element that this rank owns, by its place in a flat buffer.
  float* at(std::size_t tensor, std::size_t element) {
    return values_.data() + places_[tensor].value() + (element - own_[tensor].offset);
  }
  /// What this rank owns of a tensor, in a flat buffer; nothing where it isn't in it.
  ranks::Part own(std::size_t tensor) const {
    return {own_[tensor].offset, places_[tensor] ? own_[tensor].size : 0};
  }
  /// The values that go with that.
  std::span<float> of(std::size_t tensor) {
    return values_.span().subspan(places_[tensor].value_or(0), own(tensor).size);
  }
  std::span<const float> of(std::size_t tensor) const {
    return values_.span().subspan(places_[tensor].value_or(0), own(tensor).size);
  }

 private:
  std::string name_;
  std::vector<bool> has_;
  std::vector<ranks::Part> own_;
  model::Places places_;
  AlignedBuffer<float> values_;
};

/// Everything that training changes: the parameters, a flat buffer that all ranks have, what the
/// optimizer keeps, of which each rank has what it owns, and what goes with them.
struct State : StateValues {
  /// All zero. `buffers`: what the optimizer declares. Each of `threads` touches the part of each
  /// buffer that it will update, so that these lie near the processors that use them.
  State(const model::Layout& layout, std::span<const BufferSpec> buffers, int threads = 1);
  State(const model::Layout& layout, std::span<const BufferSpec> buffers, int threads,
        const Ownership& ownership);

  /// The parameters and all buffers, for what is done to each of them alike.
  std::vector<std::span<float>> floats();
  std::vector<std::span<const float>> floats() const;
  /// Those that are alike on all ranks.
  std::vector<std::span<float>> replicated();
  std::vector<std::span<const float>> replicated() const;

  AlignedBuffer<float> parameters;
  std::vector<StateBuffer> buffers;  ///< in the order in which the optimizer declares them
  bool is_sharded;
};

/// to = from, which are as long.
void copy(std::span<const float> from, std::span<float> to, ThreadPool& pool);

/// Bytes of the buffers that an optimizer declares, on this rank.
std::uint64_t bytes_of(const model::Layout& layout, std::span<const BufferSpec> buffers,
                       const Ownership& ownership);

}  // namespace cllm::train
