#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/parallel.h"
#include "cllm/model/layout.h"

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
  std::optional<Score> best;
};

/// Everything that training changes: flat buffers of one layout, replicated on all ranks, and what
/// goes with them.
struct State : StateValues {
  /// All zero. Each of `threads` touches the part of the flat buffers that it will update, so that
  /// these lie near the processors that use them.
  explicit State(const model::Layout& layout, int threads = 1)
      : parameters(layout.flat_size()), m(layout.flat_size()), v(layout.flat_size()) {
    parallel(threads, [&](int thread) {
      const auto part = static_cast<std::size_t>(thread);
      const auto parts = static_cast<std::size_t>(threads);
      for (AlignedBuffer<float>* buffer : {&parameters, &m, &v}) {
        const std::size_t first = buffer->size() * part / parts;
        std::ranges::fill(
            buffer->span().subspan(first, buffer->size() * (part + 1) / parts - first), 0.0f);
      }
    });
  }

  AlignedBuffer<float> parameters;
  AlignedBuffer<float> m;  ///< AdamW's mean of gradients
  AlignedBuffer<float> v;  ///< AdamW's mean of squared gradients
};

}  // namespace cllm::train
