#include "program_fixture.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class FailuresTest : public ProgramTest {
 protected:
  /// Runs the program with `options` in "disk", a fresh disk that is mounted so. What is left in it
  /// at the end is listed on stdout, after "left:".
  ChildResult run_on_disk(const std::string& mount_options, const Arguments& start,
                          const Arguments& options) const {
    return run(privately("mount -t tmpfs -o " + mount_options + " none disk && " +
                             "{ \"$@\"; code=$?; echo left:; ls -AR disk; exit $code; }",
                         start + Arguments{CLLM_PROGRAM} + options));
  }
};

TEST_F(FailuresTest, ADirectoryThatCannotBeMadeIsRefused) {
  write("file", "a regular file");
  for (const char* out : {"file/run", "file", "/proc/run"}) {
    expect_one_sentence(program(tiny(out, 5)), out);
  }
  expect_one_sentence(program_on(2, tiny("file/run", 5)), "file/run");
  EXPECT_EQ(read("file"), "a regular file");
}

TEST_F(FailuresTest, AReadOnlyDiskIsRefused) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  const ChildResult result = run_on_disk("ro", {}, tiny("disk/run", 5));
  expect_one_sentence(result, "disk/run.*Read-only file system");
  EXPECT_THAT(result.out, Not(HasSubstr("config.toml")));
}

// The checkpoint has one and a half megabytes, the disk one: all goes well until it is written.
TEST_F(FailuresTest, AFullDiskEndsTheRunWithoutHalfACheckpoint) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  const ChildResult alone = run_on_disk("size=1m", {}, tiny("disk/run", 5));
  expect_one_sentence(alone, "step-00000005\\.h5.*No space left on device");
  const auto left = [](const ChildResult& result) {
    return result.out.substr(std::min(result.out.find("left:"), result.out.size()));
  };
  EXPECT_THAT(left(alone), HasSubstr("metrics.jsonl"));
  EXPECT_THAT(left(alone), Not(HasSubstr("step-")));
  EXPECT_THAT(left(alone), Not(HasSubstr("latest")));

  const ChildResult ranks =
      run_on_disk("size=1m", mpirun() + Arguments{"-np", "2"}, tiny("disk/run", 5));
  expect_one_sentence(ranks, "step-00000005\\.h5.*No space left on device");
  EXPECT_THAT(left(ranks), Not(HasSubstr("step-")));

  // That it is the size that matters: a larger disk will do.
  const ChildResult larger = run_on_disk("size=8m", {}, tiny("disk/run", 5));
  EXPECT_EQ(larger.exit_code, 0) << larger.err;
  EXPECT_THAT(left(larger), HasSubstr("step-00000005.h5"));
}

TEST_F(FailuresTest, AFullOutputIsAnError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  succeed(tiny("run", 2));
  const ChildResult result = run({"sh", "-c", "exec \"$@\" > /dev/full", "sh", CLLM_PROGRAM,
                                  "sample", "--checkpoint", "run", "--tokens", "5"});
  expect_one_sentence(result, "standard output");
}

// Rank 1 sees an empty directory where rank 0 wrote the tokens, as on a node without the shared
// file system.
TEST_F(FailuresTest, AFileThatOneRankDoesNotSeeEndsAll) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  write("text.txt", sample_text(300));
  fs::create_directories(path("token-cache"));
  const Arguments command = Arguments{CLLM_PROGRAM} + tiny("run", 5, {"--data", "text.txt"});
  const ChildResult result =
      run(mpirun() + Arguments{"-np", "1"} + command + Arguments{":", "-np", "1"} +
          privately("mount -t tmpfs none token-cache && exec \"$@\"", command));
  expect_one_sentence(result, "rank 1 \\(host .*\\): .*token-cache/.*\\.tokens: No such file");
  EXPECT_THAT(files_in("run"), IsEmpty());
}

TEST_F(FailuresTest, RanksWithDifferentOptionsAreRefused) {
  const auto together = [&](const Arguments& first, const Arguments& second) {
    return run(mpirun() + Arguments{"-np", "1", CLLM_PROGRAM} + first +
               Arguments{":", "-np", "1", CLLM_PROGRAM} + second);
  };
  const std::string regex = "rank 1 .* was started with other options than rank 0";
  expect_one_sentence(together(tiny("run", 5), tiny("run", 0)), regex);
  expect_one_sentence(together(tiny("run", 5), tiny("run", 5, {"--seed", "2"})), regex);
  expect_one_sentence(together(tiny("run", 5), {"--version"}), regex);
  expect_one_sentence(together(tiny("run", 5, {"--resume", "auto"}), {"--stpes", "5"}), regex);
  EXPECT_THAT(files_in("run"), IsEmpty());
}

}  // namespace
}  // namespace cllm::cli
