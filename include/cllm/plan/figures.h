#pragma once

#include <optional>

#include "cllm/ranks/costs.h"

namespace cllm::plan {

/// What a plan knows of a host, and of what is between hosts.
struct Figures {
  int cores = 0;            ///< of a host, each with a thread that computes
  double core_flops = 0;    ///< model FLOP/s of one of them in forward and backward
  double update_bytes = 0;  ///< bytes per second that a host's optimizers read and write
  double disk_bytes = 0;    ///< bytes per second that a checkpoint is written at
  ranks::Costs costs = {};
  /// Seconds of a processor that sums take away from computation, for each byte that a rank sends;
  /// nothing: as long as the communication thread is busy by `costs`.
  std::optional<double> stolen_per_byte = {};
};

/// Throws Error, in words for users, where a figure is missing or impossible. `hosts`: the most.
void validate(const Figures& figures, std::size_t hosts);

}  // namespace cllm::plan
