#include <filesystem>
#include <fstream>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// Starts that are mistakes, each of which must be found and said.
class StartTest : public ProgramTest {
 protected:
  /// A job whose rank 1 is started in another way than rank 0.
  ChildResult together(const Arguments& first, const Arguments& second) const {
    return run(mpirun() + Arguments{"-np", "1"} + first + Arguments{":", "-np", "1"} + second);
  }
  static Arguments plain(const Arguments& options = {}) {
    return Arguments{CLLM_PROGRAM} + tiny("run", 5) + options;
  }
  /// The same with other variables in its environment.
  static Arguments with(const Arguments& variables) {
    return Arguments{"env"} + variables + plain();
  }

  /// A copy of the program in which `change` was made.
  Arguments changed(const std::string& name,
                    const std::function<void(std::string& program)>& change) const {
    std::ifstream file(CLLM_PROGRAM, std::ios::binary);
    std::string program((std::istreambuf_iterator<char>(file)), {});
    change(program);
    write(name, program);
    fs::permissions(path(name), fs::perms::owner_exec, fs::perm_options::add);
    return Arguments{path(name).string()} + tiny("run", 5);
  }

  void expect_runs(const ChildResult& result) const {
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(values("run", "loss").size(), 5u);
  }
};

TEST_F(StartTest, WorldsOfOneRankAreRefusedAndSaidOnce) {
  const auto alone = [&](const Environment& environment) {
    const ChildResult result = run(plain(), environment);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(files_in("run"), IsEmpty());
    return result;
  };
  const std::string regex =
      "^cllm-dist: 3 ranks were started \\(.*=3\\), and each finds itself "
      "alone, .*srun --mpi=pmix";
  for (const auto& [ranks, rank] :
       {std::pair{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
        std::pair{"PMI_SIZE", "PMI_RANK"}, std::pair{"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}}) {
    expect_one_sentence(alone({{ranks, "3"}, {rank, "0"}}), regex);
    EXPECT_EQ(alone({{ranks, "3"}, {rank, "2"}}).err, "");
  }
  EXPECT_EQ(run({CLLM_PROGRAM, "--version"}, {{"PMI_SIZE", "3"}}).exit_code, 0);
}

TEST_F(StartTest, AProgramOfOneRankRunsInAJobOfMany) {
  expect_runs(run(plain(), {{"SLURM_NTASKS", "8"}, {"SLURM_STEP_NUM_TASKS", "1"}}));
}

TEST_F(StartTest, AnotherBuildIsRefused) {
  const Arguments other = changed("other", [](std::string& program) { program += '\0'; });
  const std::string regex = "the program is another build of cllm-dist .* on rank 1 \\(host ";
  expect_one_sentence(together(plain(), other), regex);
  expect_one_sentence(together(other, plain()), regex);
  EXPECT_THAT(files_in("run"), IsEmpty());
  expect_runs(together(other, other));  // which is a program that works
}

TEST_F(StartTest, AnotherVersionIsRefused) {
  const std::string version = lines_of(succeed({"--version"}).out).at(0);
  const std::string other_version = std::string(version.size() - 1, '9') + "x";
  const Arguments other = changed("other", [&](std::string& program) {
    for (std::size_t at = 0; (at = program.find(version, at)) != program.npos;) {
      program.replace(at, version.size(), other_version);
    }
  });
  expect_one_sentence(together(plain(), other), "the program is cllm-dist " + version +
                                                    " on rank 0 \\(host .*\\) and " +
                                                    other_version + " on rank 1 ");
  EXPECT_THAT(files_in("run"), IsEmpty());
}

TEST_F(StartTest, ADirectoryThatOneRankDoesNotSeeIsRefused) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  fs::create_directories(path("disk"));
  const Arguments command = Arguments{CLLM_PROGRAM} + tiny("disk/run", 5);
  const std::string on_its_own = "mount -t tmpfs none disk && exec \"$@\"";
  const ChildResult result = together(command, privately(on_its_own, command));
  expect_one_sentence(result,
                      "--out disk/run: rank 1 \\(host .*\\) does not see what rank 0 \\(host");
  EXPECT_THAT(files_in("disk"), IsEmpty());
  EXPECT_EQ(together(command, command).exit_code, 0);
  EXPECT_THAT(files_in("disk/run"), Not(testing::Contains(HasSubstr(".seen"))));
}

TEST_F(StartTest, ADataFileThatIsAnotherOnOneHostIsRefused) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  for (const auto& [name, lines] : {std::pair{"here", 300}, std::pair{"there", 301}}) {
    write(std::string(name) + ".txt", sample_text(lines));
    succeed(
        {"tokenize", "--data", std::string(name) + ".txt", "--out", std::string(name) + ".tokens"});
  }
  const Arguments command = plain({"--data", "here.tokens"});
  const std::string swapped = "mount --bind there.tokens here.tokens && exec \"$@\"";
  expect_one_sentence(together(command, privately(swapped, command)),
                      "rank 1 \\(host .*here\\.tokens is not the file that was prepared");
  EXPECT_THAT(files_in("run"), IsEmpty());
}

// nanoGPT's files have no digest that would tell.
TEST_F(StartTest, OtherTokensOfTheSameLengthOnOneHostAreRefused) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  std::string tokens(1'000'000, '\0');
  write("here.bin", tokens);
  tokens[tokens.size() - 2] = 1;  // the last of those that validate
  write("there.bin", tokens);
  const Arguments command = plain({"--data", "here.bin"});
  const std::string swapped = "mount --bind there.bin here.bin && exec \"$@\"";
  expect_one_sentence(together(command, privately(swapped, command)),
                      "rank 1 \\(host .*\\) has other tokens than rank 0 \\(host ");
  EXPECT_THAT(files_in("run"), IsEmpty());
}

TEST_F(StartTest, OtherBlasKernelsOnOneRankAreSaid) {
  const ChildResult result =
      together(with({"CLLM_PRODUCTS=openblas", "OPENBLAS_CORETYPE=Sandybridge"}),
               with({"CLLM_PRODUCTS=openblas", "OPENBLAS_CORETYPE=Nehalem"}));
  expect_runs(result);
  EXPECT_THAT(result.err,
              ContainsRegex("warning: ranks have processors that may round matrix products "
                            "differently: rank 1 .* Nehalem, rank 0 .* Sandybridge; "));
}

TEST_F(StartTest, AnotherProcessorOnOneRankIsSaid) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  write("cpuinfo", "processor\t: 0\nmodel name\t: Imaginary 9000\n");
  const ChildResult result =
      together(with({"CLLM_PRODUCTS=openblas"}),
               privately("export CLLM_PRODUCTS=openblas; mount --bind cpuinfo /proc/cpuinfo && "
                         "exec \"$@\"",
                         plain()));
  expect_runs(result);
  EXPECT_THAT(result.err, HasSubstr(" with Imaginary 9000 with OpenBLAS "));
}

TEST_F(StartTest, OtherKernelsOfOurOwnOnOneRankAreRefused) {
  const ChildResult result = together(plain(), with({"CLLM_KERNELS=reference"}));
  expect_one_sentence(result,
                      "rank 1 \\(host .*\\) computes with the reference kernels, and rank 0");
  EXPECT_THAT(files_in("run"), IsEmpty());
  expect_runs(together(plain(), with({"CLLM_KERNELS=portable"})));  // which has the same bits
}

TEST_F(StartTest, AnotherBuildOfBlasIsRefused) {
#ifdef CLLM_SANITIZED
  GTEST_SKIP() << "a sanitizer must be the first library that is loaded";
#endif
  const auto with_blas = [&](const std::string& claim, int threads) {
    return run(plain({"--threads", std::to_string(threads)}),
               {{"LD_PRELOAD", preloadable(CLLM_OTHER_BLAS)}, {"CLLM_OTHER_BLAS", claim}});
  };
  expect_one_sentence(with_blas("pthreads", 1), "the OpenBLAS that was loaded is not its OpenMP");
  expect_one_sentence(
      with_blas("two-buffers", 3),
      "--threads 3: OpenBLAS has buffers for 2 threads in a process; use more ranks");
  EXPECT_THAT(files_in("run"), IsEmpty());
  expect_runs(with_blas("nothing", 1));
}

TEST_F(StartTest, AJobsShareOfMemoryCounts) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  // As a control group of version 1, and as one of version 2, whose root is the process' own.
  const std::string limited =
      "mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && mkdir memory && "
      "echo 9000000 > memory/memory.limit_in_bytes && echo 1000000 > memory/memory.usage_in_bytes "
      "&& echo 9000000 > memory.max && echo 1000000 > memory.current && cd - && exec \"$@\"";
  expect_one_sentence(
      run(privately(limited, plain())),
      "host .*: the run needs about [0-9.]+ [MG]B and [0-9.]+ [kM]B are free; make the model");
  EXPECT_THAT(files_in("run"), IsEmpty());
}

TEST_F(StartTest, ALimitThatIsTooLowForTheLibrariesIsSaid) {
#ifdef CLLM_SANITIZED
  GTEST_SKIP() << "a sanitizer takes all of the address space";
#endif
  expect_one_sentence(
      run({"sh", "-c", "ulimit -v 250000 && exec \"$@\"", "sh", CLLM_PROGRAM, "--version"}),
      "address space \\(ulimit -v\\) is too low for the program's libraries");
}

TEST_F(StartTest, ALimitOfAddressSpaceCounts) {
#ifdef CLLM_SANITIZED
  GTEST_SKIP() << "a sanitizer takes all of the address space";
#endif
  const auto with_megabytes = [&](int megabytes, const Arguments& more) {
    const std::string kilobytes = std::to_string(megabytes * 1000);
    return run(Arguments{"sh", "-c", "ulimit -v " + kilobytes + " && exec \"$@\"", "sh"} +
               plain(more));
  };
  expect_one_sentence(with_megabytes(1500, {"--threads", "40"}),
                      "--threads 40: OpenBLAS maps [0-9.]+ GB of address space for them, and the "
                      "limit \\(ulimit -v\\) leaves");
  expect_one_sentence(
      with_megabytes(8000, {"--channels", "4096", "--layers", "8"}),
      "host .*: a rank needs about [0-9.]+ [MG]B, and its limit \\(ulimit -v\\) leaves");
  EXPECT_THAT(files_in("run"), IsEmpty());
}

TEST_F(StartTest, ThreadsThatShareProcessorsAreSaid) {
  const Arguments bound = {"taskset", "--cpu-list", "0"};
  const ChildResult one = run(bound + plain({"--threads", "3"}));
  expect_runs(one);
  EXPECT_THAT(one.err, HasSubstr("warning: rank 0 has 3 threads on the one processor"));
  fs::remove_all(path("run"));
  const ChildResult two = together(bound + plain(), bound + plain());
  expect_runs(two);
  EXPECT_THAT(two.err, ContainsRegex("warning: host .*: 2 ranks with 2 threads in all share 1 "
                                     "processor; "));
}

TEST_F(StartTest, ATableSaysWhatThereIs) {
  const ChildResult result = succeed_on(2, tiny("run", 5));
  EXPECT_THAT(
      result.out,
      ContainsRegex("\nhosts   host .* processors +memory  kind of processor\n"
                    "        [^ ]+ +2 +1 +[0-9]+ +[0-9.]+ GB  .+; .+ kernels; .+ products\n"));
}

}  // namespace
}  // namespace cllm::cli
