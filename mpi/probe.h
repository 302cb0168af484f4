#pragma once

#include <mpi.h>

#include "cllm/collectives/costs.h"
#include "cllm/mpi/sums.h"

namespace cllm::mpi {

/// Measures what messages between hosts cost, and adding, while nothing else runs: some messages
/// from each host to the next and back, and never more of them than a tenth of a second or so
/// allows. Waits as sums do, so that what is measured is what they will meet. The ranks of the
/// communicator that made the Sums call it alike, and all get the slowest rank's figures. What
/// isn't between hosts, or needs more than one of them, stays 0.
collectives::Costs measure_costs(Sums& sums, MPI_Comm communicator);

}  // namespace cllm::mpi
