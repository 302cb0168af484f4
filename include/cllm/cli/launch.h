#pragma once

#include <functional>
#include <string>

#include "cllm/cli/arguments.h"
#include "cllm/train/collective.h"

namespace cllm::cli {

/// What a launcher (mpirun, srun) says in the environment of the processes that it starts.
struct Launch {
  int ranks = 1;       ///< that it started together
  int rank = 0;        ///< this one
  std::string source;  ///< "OMPI_COMM_WORLD_SIZE=4"; empty where nobody says anything
};

/// `variable(name)`: its value, or nullptr. The launcher that is nearest to the process counts: a
/// Slurm step may hold an mpirun of its own.
Launch read_launch(const std::function<const char*(const char*)>& variable);

/// The same, of this process.
Launch read_launch();

/// Whether the launcher started several ranks and this one finds itself alone: each would then
/// train for itself, over the others' files. Throws ReplicatedError on the launcher's rank 0, and
/// returns true on the others, which have to leave.
bool is_cut_off(const Launch& launch, const train::Collective& collective);

/// Throws ReplicatedError, on all ranks, unless all run the same program with the same arguments.
/// It is the first thing that ranks do together. They would else take different ways, each waiting
/// for the others. `digest`: of the program's file.
void require_same_start(const Arguments& arguments, const std::string& digest,
                        train::Collective& collective);

/// The digest of this program's file; empty where it can't be read.
std::string program_digest();

}  // namespace cllm::cli
