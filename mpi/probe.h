#pragma once

#include <mpi.h>

#include "cllm/collectives/costs.h"
#include "cllm/collectives/hosts.h"
#include "cllm/collectives/transport.h"

namespace cllm::mpi {

/// Measures what messages between hosts cost, and adding, while nothing else runs: some messages
/// from each host to the next, and never more of them than a tenth of a second or so allows. Waits
/// as sums do, so that what is measured is what they will meet. The ranks of `communicator`, which
/// are the transport's, call it alike, and all get the slowest rank's figures. What messages within
/// a host cost is left at 0, and what they cost between hosts where there is one host.
///
/// The transport has as many slots as usual (collectives::Tuning), and all are free.
collectives::Costs measure_costs(collectives::Transport& transport, const collectives::Hosts& hosts,
                                 MPI_Comm communicator);

}  // namespace cllm::mpi
