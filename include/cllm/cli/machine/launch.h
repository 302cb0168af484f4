#pragma once

#include <functional>
#include <string>

#include "cllm/cli/arguments.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

/// What a launcher (mpirun, srun) says in the environment of the processes that it starts.
struct Launch {
  int ranks = 1;            ///< that it started together
  int rank = 0;             ///< this one
  std::string source = {};  ///< "OMPI_COMM_WORLD_SIZE=4"; empty where nobody says anything
  bool can_meet = true;     ///< the launcher offers its processes a way (PMI) to find each other
};

/// `variable(name)`: its value, or nullptr. The launcher that is nearest to the process counts: a
/// Slurm step may hold an mpirun of its own.
Launch read_launch(const std::function<const char*(const char*)>& variable);

/// The same, of this process.
Launch read_launch();

/// Whether the launcher started several ranks and this one finds itself in a world of `size` 1:
/// each would then train for itself, over the others' files. Throws ReplicatedError on the
/// launcher's rank 0, and returns true on the others, which have to leave.
bool refuse_if_cut_off(const Launch& launch, int size);

/// Note [Steps without PMI]: in a step of Slurm that offers no PMI (srun --mpi=none, an interactive
/// shell), Open MPI ends the program in MPI_Init and tells its user to build it anew. Several ranks
/// can't find each other there; but one, which need not, may start once it doesn't see the step.
///
/// To be called before MPI starts. Returns whether it may; see `refuse_if_cut_off`.
bool may_start_mpi(const Launch& launch);

/// Throws ReplicatedError, on all ranks, unless all run the same program with the same arguments.
/// It is the first thing that ranks do together. They would else take different ways, each waiting
/// for the others. `digest`: of the program's file.
void require_same_start(const Arguments& arguments, const std::string& digest,
                        ranks::ProcessGroup& process_group);

/// The digest of this program's file; empty where it can't be read.
std::string program_digest();

}  // namespace cllm::cli
