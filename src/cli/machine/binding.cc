#include "cllm/cli/machine/binding.h"

#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/base/processors.h"

namespace cllm::cli {
namespace {

/// Where Open MPI tells that somebody chose processors: --bind-to, --cpu-set, --cpu-list,
/// --rankfile and --cpus-per-proc, on its command line or as parameters in the environment. A
/// mapping chooses them where it has PE=N.
constexpr const char* kChoices[] = {
    "OMPI_MCA_hwloc_base_binding_policy", "OMPI_MCA_hwloc_base_cpu_set",
    "OMPI_MCA_hwloc_base_cpu_list",       "OMPI_MCA_orte_rankfile",
    "OMPI_MCA_rmaps_rank_file_path",      "OMPI_MCA_rmaps_base_cpus_per_rank"};
constexpr const char* kMapping = "OMPI_MCA_rmaps_base_mapping_policy";

/// What Open MPI started, and programs that start others on processors of their choice.
constexpr const char* kCommand = "OMPI_COMMAND";
constexpr std::string_view kBinders[] = {"taskset", "numactl", "hwloc-bind", "likwid-pin"};

bool is_binder(std::string_view command) {
  const std::string_view name = command.substr(command.rfind('/') + 1);
  return std::ranges::find(kBinders, name) != std::end(kBinders);
}

/// How the names of Open MPI's launchers and daemons begin, of which one starts the ranks of a
/// host.
constexpr const char* kMpiLaunchers[] = {"mpirun", "mpiexec", "orte", "prte"};

struct Process {
  std::string name;
  int parent = 0;
};

/// From /proc/<process>/stat: "123 (name) S 1 …".
Process read_process(int process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t open = line.find('('), close = line.rfind(')');
  if (open == line.npos || close == line.npos || close + 4 > line.size()) return {};
  return {line.substr(open + 1, close - open - 1), std::atoi(line.c_str() + close + 4)};
}

/// The processors of the launcher that started this process, directly or by a script; empty where
/// there is none.
std::vector<int> launcher_processors() {
  for (int process = ::getppid(); process > 1;) {
    const Process at = read_process(process);
    const bool is_launcher = std::ranges::any_of(
        kMpiLaunchers, [&](const char* name) { return at.name.starts_with(name); });
    if (is_launcher) return available_processors(process);
    process = at.parent;
  }
  return {};
}

}  // namespace

Binder read_binder(const std::function<const char*(const char*)>& variable) {
  const auto is_set = [&](const char* name) { return variable(name) != nullptr; };
  if (is_set("OMPI_COMM_WORLD_SIZE")) {
    const char* const mapping = variable(kMapping);
    const char* const command = variable(kCommand);
    const bool is_chosen = std::ranges::any_of(kChoices, is_set) ||
                           (command != nullptr && is_binder(command)) ||
                           (mapping != nullptr && ::strcasestr(mapping, "pe=") != nullptr);
    return {.is_default = is_set("OMPI_MCA_orte_bound_at_launch") && !is_chosen,
            .remedy = "mpirun --bind-to none (and no taskset)",
            .is_launched = true};
  }
  if (is_set("SLURM_JOB_ID")) return {.remedy = "more --cpus-per-task of sbatch or srun"};
  if (is_set("PMI_SIZE")) return {.remedy = "mpiexec -bind-to none (and no taskset)"};
  return {.remedy = "a wider mask (taskset, OMP_PLACES)"};
}

void read_binding(ranks::Site& site) {
  const Binder binder = read_binder([](const char* name) { return std::getenv(name); });
  site.permitted = permitted_processors();
  site.remedy = binder.remedy;
  site.is_bound_by_default = binder.is_default;
  if (!binder.is_launched) return;
  const std::vector<int> launchers = launcher_processors();
  if (launchers.empty()) {
    site.is_bound_by_default = false;  // nobody knows what it was given
    return;
  }
  std::vector<int> both;
  std::ranges::set_intersection(site.permitted, launchers, std::back_inserter(both));
  site.permitted = both;
}

}  // namespace cllm::cli
