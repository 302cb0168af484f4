#include "cllm/cli/machine/binding.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace cllm::cli {
namespace {

using Environment = std::map<std::string, std::string>;

Binder binder_in(Environment environment) {
  return read_binder([&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

Binder open_mpi(Environment more) {
  more.merge(Environment{{"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_MCA_orte_bound_at_launch", "1"}});
  return binder_in(more);
}

TEST(Binding, OfOpenMpiIsADefaultUnlessSomebodyAskedForIt) {
  EXPECT_TRUE(open_mpi({}).is_default);
  EXPECT_TRUE(open_mpi({{"OMPI_MCA_rmaps_base_mapping_policy", "node"}}).is_default);
  for (const auto& [name, value] :
       Environment{{"OMPI_MCA_hwloc_base_binding_policy", "core"},
                   {"OMPI_MCA_hwloc_base_cpu_list", "0,1"},
                   {"OMPI_MCA_hwloc_base_cpu_set", "0,1"},
                   {"OMPI_MCA_orte_rankfile", "ranks"},
                   {"OMPI_COMMAND", "/usr/bin/taskset"},
                   {"OMPI_MCA_rmaps_base_cpus_per_rank", "2"},
                   {"OMPI_MCA_rmaps_base_mapping_policy", "numa:PE=2"}}) {
    EXPECT_FALSE(open_mpi({{name, value}}).is_default) << name;
  }
  EXPECT_FALSE(binder_in({{"OMPI_COMM_WORLD_SIZE", "2"}}).is_default);
  EXPECT_TRUE(open_mpi({{"OMPI_COMMAND", "wrapper.sh"}}).is_default);
  EXPECT_EQ(open_mpi({}).remedy, "mpirun --bind-to none (and no taskset)");
}

TEST(Binding, OfOthersIsTheirs) {
  for (const Environment& environment :
       {Environment{}, Environment{{"SLURM_JOB_ID", "1"}}, Environment{{"PMI_SIZE", "2"}}}) {
    EXPECT_FALSE(binder_in(environment).is_default);
  }
  EXPECT_EQ(binder_in({{"PMI_SIZE", "2"}}).remedy, "mpiexec -bind-to none (and no taskset)");
  EXPECT_EQ(binder_in({{"SLURM_JOB_ID", "1"}, {"PMI_SIZE", "2"}}).remedy,
            "more --cpus-per-task of sbatch or srun");
}

}  // namespace
}  // namespace cllm::cli
