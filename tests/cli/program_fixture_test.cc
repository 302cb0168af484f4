#include "program_fixture.h"

#include <gtest/gtest-spi.h>

// The tests' own means must be able to fail.

namespace cllm::cli {
namespace {

using support::ChildProcess;

TEST_F(ProgramTest, AChildsExitCodeAndOutputAreSeen) {
  const ChildResult result = run({"sh", "-c", "echo out; echo err >&2; pwd; exit 7"});
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(result.out, "out\n" + directory().string() + "\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_EQ(run({"sh", "-c", "kill -9 $$"}).exit_code, 128 + 9);
  EXPECT_THROW(run({"no-such-program"}), Error);
}

TEST_F(ProgramTest, AChildThatHangsIsKilledWithItsOwnChildren) {
  ChildProcess child({"sh", "-c", "sleep 1000 & echo $!; wait"}, directory());
  const ChildResult result = child.wait(0.3);
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.exit_code, 128 + SIGTERM);
  // Gone, or a zombie that nobody waits for.
  const std::string process = "/proc/" + result.out.substr(0, result.out.find('\n')) + "/exe";
  const auto is_gone = [&] {
    std::error_code absent;
    return std::filesystem::read_symlink(process, absent).empty();
  };
  EXPECT_TRUE(wait_until(is_gone, kPatience));
}

TEST_F(ProgramTest, AChildThatStopsItselfIsFoundAndGoesOn) {
  const std::string out = path("run").string();
  ChildProcess child =
      start(command_for(1, tiny(out, 3)), {{"CLLM_FAIL_POINT", "h5.written:1:19"}});
  EXPECT_EQ(wait_until_stopped(out), child.pid());
  EXPECT_TRUE(child.is_running());
  EXPECT_THAT(child.out(), testing::HasSubstr("step 1/3"));
  EXPECT_THAT(files_in("run"), testing::Not(testing::Contains("step-00000003.h5")));
  child.signal(SIGCONT);
  EXPECT_EQ(wait(child).exit_code, 0);
  EXPECT_FALSE(child.is_running());
  EXPECT_THAT(ranks_with(out), testing::IsEmpty());
}

TEST(OneSentenceTest, RefusesAllElse) {
  const std::string sentence = "cllm-dist: --steps 0: give at least 1\n";
  expect_one_sentence({.exit_code = 1, .err = sentence + "mpirun says more\n"}, "--steps 0");
  EXPECT_NONFATAL_FAILURE(expect_one_sentence({.exit_code = 0, .err = sentence}, "--steps 0"),
                          "exit_code");
  EXPECT_NONFATAL_FAILURE(expect_one_sentence({.exit_code = 139, .err = sentence}, "--steps 0"),
                          "a signal ended it");
  EXPECT_NONFATAL_FAILURE(
      expect_one_sentence({.exit_code = 1, .err = sentence + sentence}, "--steps 0"),
      "count_lines");
  EXPECT_NONFATAL_FAILURE(expect_one_sentence({.exit_code = 1, .err = sentence}, "--steps 5"),
                          "does not match");
}

}  // namespace
}  // namespace cllm::cli
