#include "cllm/base/processors.h"
#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

/// The threads that ranks have however the program is started.
class LaunchTest : public ProgramTest {
 protected:
  /// A run as people start it.
  ChildResult started(const Arguments& launcher, const Environment& environment = {}) {
    const std::string out = "run-" + std::to_string(++runs_);
    const ChildResult result =
        run(launcher + Arguments{CLLM_PROGRAM, "--preset", "tiny", "--batch", "4", "--steps", "1"} +
                Arguments{"--eval-sequences", "8", "--out", out},
            environment);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }

  /// The line of the table that has ranks, threads and processors.
  static std::string line_of_host(const ChildResult& result) {
    const std::vector<std::string> lines = lines_of(result.out);
    for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
      if (lines[i].starts_with("hosts ")) return lines[i + 1];
    }
    return {};
  }

  /// mpirun without what other tests tell it.
  static Arguments bare_mpirun(const Arguments& more = {}) {
    return Arguments{"env", "-u", "OMPI_MCA_hwloc_base_binding_policy", CLLM_MPIEXEC} + more;
  }

 private:
  int runs_ = 0;
};

TEST_F(LaunchTest, OpenMpsPlacesLeaveARankItsProcessors) {
  const std::string plain = line_of_host(started({}));
  EXPECT_THAT(plain, HasSubstr(std::to_string(useful_threads())));
  EXPECT_EQ(line_of_host(started({}, {{"OMP_PLACES", "cores"}})), plain);
  EXPECT_EQ(line_of_host(started({}, {{"OMP_PROC_BIND", "close"}, {"OMP_PLACES", "threads"}})),
            plain);
  const Arguments two = mpirun() + Arguments{"-np", "2"};
  EXPECT_EQ(line_of_host(started(two, {{"OMP_PROC_BIND", "true"}})), line_of_host(started(two)));
  if (available_processors().size() == 1) return;
  // Places by number are meant.
  const ChildResult one =
      started({}, {{"GOMP_CPU_AFFINITY", std::to_string(available_processors().back())}});
  EXPECT_NE(line_of_host(one), plain);
  EXPECT_THAT(one.out, HasSubstr("ranks may run on 1 of "));
}

TEST_F(LaunchTest, ALaunchersDefaultLeavesNoProcessorIdle) {
  EXPECT_EQ(line_of_host(started(bare_mpirun({"-np", "1"}))), line_of_host(started({})));
}

TEST_F(LaunchTest, ABindingThatIsMeantIsKept) {
  const std::vector<int> processors = available_processors();
  if (processors.size() == 1) GTEST_SKIP() << "needs two processors";
  const Arguments one = {"taskset", "-c", std::to_string(processors.back())};
  const std::string alone = line_of_host(started(one));
  EXPECT_NE(alone, line_of_host(started({})));
  EXPECT_EQ(line_of_host(started(one + bare_mpirun({"-np", "1"}))), alone);
  EXPECT_EQ(line_of_host(started(bare_mpirun({"-np", "1"}) + one)), alone);
  const ChildResult version = run({CLLM_MPIEXEC, "--version"});
  if (version.out.find("open-mpi") == std::string::npos) return;
  const ChildResult bound = started(bare_mpirun({"--bind-to", "core", "-np", "1"}));
  EXPECT_THAT(bound.out, HasSubstr("mpirun --bind-to none (and no taskset) gives them more"));
  EXPECT_THAT(bound.out, Not(HasSubstr("without being asked")));
}

}  // namespace
}  // namespace cllm::cli
