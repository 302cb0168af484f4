#include <filesystem>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class DoctorTest : public ProgramTest {
 protected:
  static Arguments doctor(const Arguments& options = {}) {
    return Arguments{CLLM_PROGRAM, "doctor", "--preset", "tiny", "--threads", "1"} + options;
  }
  /// What is wrong, of an examination in which a run was not refused.
  std::string findings(const Arguments& command, const Environment& environment = {}) const {
    const ChildResult result = run(command, environment);
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    EXPECT_EQ(result.err, "");
    return result.out.substr(std::min(result.out.find("\nproblems found"), result.out.size()));
  }
  /// The same, of one in which it was.
  void expect_refused(const ChildResult& result, const std::string& regex) const {
    EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
    EXPECT_THAT(result.out, ContainsRegex("\n  1. a run would be refused: " + regex));
  }
};

TEST_F(DoctorTest, LooksAtEverythingAndLeavesNothing) {
  const ChildResult result = run(doctor());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char* beginning :
       {"cllm-dist ", "hosts   host ", "sgemm   ", "disk    ", "step    ", "presets "}) {
    EXPECT_EQ(count_lines(result.out, beginning), 1) << beginning << '\n' << result.out;
  }
  EXPECT_THAT(result.out, ContainsRegex("\n +tiny +139,712 .* GB  measured\n"));
  EXPECT_THAT(result.out, ContainsRegex("\n +gpt2-355m .* GB  estimated\n"));
  EXPECT_THAT(files_in("."), IsEmpty());
}

TEST_F(DoctorTest, MeasuresSumsOverRanks) {
  const ChildResult result =
      run(mpirun() + Arguments{"-np", "2"} + doctor({"--out", "results/here"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(count_lines(result.out, "sums    "), 1) << result.out;
  EXPECT_THAT(result.out, ContainsRegex("\n +bytes +mpi +ring"));
  EXPECT_THAT(result.out, ContainsRegex("\n +4 MiB +.* GB/s +.* GB/s\n"));
  EXPECT_THAT(result.out, ContainsRegex("; summing gradients takes .* while computation goes on"));
  EXPECT_THAT(files_in("."), IsEmpty());
}

TEST_F(DoctorTest, AModelThatIsTooLargeToMeasureIsEstimated) {
  const ChildResult result = run(Arguments{CLLM_PROGRAM, "doctor", "--preset", "gpt2-355m",
                                           "--batch", "512", "--micro-batch", "1"});
  EXPECT_THAT(result.out, ContainsRegex("\n +gpt2-355m .* GB  estimated\n"));
  EXPECT_THAT(result.out, ContainsRegex("\n +[a-z]+ .* GB  measured\n"));
}

TEST_F(DoctorTest, FindsWhatARunRefuses) {
  const ChildResult large = run(doctor({"--channels", "80000"}));
  expect_refused(large, "host .*: the run needs about ");
  EXPECT_THAT(large.out, ContainsRegex("\n +tiny +[0-9,.]+ [GM] .* estimated\n"));
  expect_refused(run(doctor({"--threads", "65"})), "--threads 65: OpenBLAS has buffers for 64");
  write("file", "not a directory");
  expect_refused(run(doctor({"--out", "file/run"})), "cannot create the directory file/run");
  expect_one_sentence(run(doctor({"--batch", "3", "--micro-batch", "4"})), "--micro-batch 4");
}

TEST_F(DoctorTest, FindsRanksThatSeeNotTheSame) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  const Arguments command = doctor({"--out", "disk"});
  const ChildResult result =
      run(mpirun() + Arguments{"-np", "1"} + command + Arguments{":", "-np", "1"} +
          privately("mount -t tmpfs none disk && exec \"$@\"", command));
  expect_refused(result, "--out disk: rank 1 \\(host .*\\) does not see what rank 0");
}

TEST_F(DoctorTest, FindsThreadsThatShareProcessors) {
  EXPECT_THAT(findings(Arguments{"taskset", "--cpu-list", "0"} + doctor({"--threads", "3"})),
              HasSubstr("rank 0 has 3 threads on the one processor"));
}

TEST_F(DoctorTest, FindsSlowKernels) {
  EXPECT_THAT(findings(doctor(), {{"CLLM_KERNELS", "portable"}}),
              HasSubstr("the kernels are the portable ones"));
  const std::string slow =
      findings(doctor({"--products", "openblas"}), {{"OPENBLAS_CORETYPE", "Nehalem"}});
  if (run({"grep", "-qw", "avx2", "/proc/cpuinfo"}).exit_code == 0) {
    EXPECT_THAT(slow, HasSubstr("OpenBLAS computes without AVX2 on a processor that has it"));
  }
}

TEST_F(DoctorTest, FindsADiskThatIsFull) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  expect_refused(run(privately("mount -t tmpfs -o size=1m none disk && exec \"$@\"",
                               doctor({"--out", "disk"}))),
                 "cannot write disk/.*: No space left on device");
  EXPECT_THAT(findings(privately("mount -t tmpfs -o size=70m none disk && exec \"$@\"",
                                 doctor({"--out", "disk", "--channels", "1024"}))),
              ContainsRegex("--out disk: a checkpoint takes 209 MB, and only 73.* MB are free"));
}

}  // namespace
}  // namespace cllm::cli
