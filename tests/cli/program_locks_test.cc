#include <signal.h>

#include "program_fixture.h"

// Two jobs on one directory.

namespace cllm::cli {
namespace {

using support::ChildProcess;
using testing::Contains;
using testing::ContainsRegex;
using testing::Not;
using testing::StartsWith;

class LocksTest : public ProgramTest {
 protected:
  std::string out() const { return path("run").string(); }

  Arguments options(const std::string& where, const Arguments& more = {}) const {
    return tiny(where, 20, {"--warmup", "4", "--checkpoint-every", "5"}) + more;
  }

  /// The job that has the directory, which stopped itself after its first checkpoint.
  ChildProcess start_first(int ranks) const {
    return start(command_for(ranks, options(out())),
                 {{"CLLM_FAIL_POINT", "checkpoint.done:1:" + std::to_string(SIGSTOP)}});
  }
};

TEST_F(LocksTest, TheSecondJobIsRefusedAndTheFirstUndisturbed) {
  succeed(options("undisturbed"));
  for (const int ranks : {1, 2}) {
    SCOPED_TRACE(ranks);
    std::filesystem::remove_all(out());
    ChildProcess first = start_first(ranks);
    const pid_t holder = wait_until_stopped(out());
    const auto before = files_in("run");
    const std::string refusal =
        "run/\\.lock is held by process " + std::to_string(holder) + " on host .*; wait";
    // However it is asked for.
    expect_one_sentence(program(options("run", {"--resume", "auto"})), refusal);
    expect_one_sentence(program_on(2, options("run")), refusal);
    expect_one_sentence(program({"--resume", "run/step-00000005.h5"}), refusal);
    // To write elsewhere is not to write here.
    succeed(options("other", {"--resume", "run/step-00000005.h5"}));
    std::filesystem::remove_all(path("other"));
    EXPECT_EQ(files_in("run"), before);
    ::kill(holder, SIGCONT);
    const ChildResult result = wait(first);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(digests("run"), digests("undisturbed"));
    EXPECT_EQ(values("run", "loss"), values("undisturbed", "loss"));
    EXPECT_THAT(files_in("run"), Not(Contains(StartsWith("."))));
  }
}

TEST_F(LocksTest, AKilledJobHoldsNothing) {
  ChildProcess first = start_first(2);
  ::kill(wait_until_stopped(out()), SIGKILL);
  EXPECT_NE(wait(first).exit_code, 0);
  EXPECT_THAT(files_in("run"), Contains(".lock"));
  const ChildResult result = succeed(options(out(), {"--resume", "auto"}));
  EXPECT_THAT(result.out, ContainsRegex("resumed from .*step-00000005.h5"));
  EXPECT_THAT(files_in("run"), Not(Contains(StartsWith("."))));
}

}  // namespace
}  // namespace cllm::cli
