#include "cllm/cli/machine/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "cllm/base/error.h"
#include "cllm/cli/program.h"
#include "support/error_of.h"
#include "support/thread_ranks.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

Launch launch_in(const std::map<std::string, std::string>& environment) {
  return read_launch([&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(Launch, IsWhatTheNearestLauncherSays) {
  EXPECT_EQ(launch_in({}).ranks, 1);
  // A batch script, and a step of one task: what they start is alone by right.
  EXPECT_EQ(launch_in({{"SLURM_NTASKS", "8"}, {"SLURM_JOB_ID", "5"}}).ranks, 1);
  EXPECT_EQ(launch_in({{"SLURM_NTASKS", "8"}, {"SLURM_STEP_NUM_TASKS", "1"}}).ranks, 1);
  const Launch step = launch_in({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "3"}});
  EXPECT_EQ(step.ranks, 4);
  EXPECT_EQ(step.rank, 3);
  EXPECT_EQ(step.source, "SLURM_STEP_NUM_TASKS=4");
  EXPECT_EQ(launch_in({{"PMI_SIZE", "3"}, {"PMI_RANK", "1"}}).rank, 1);
  // mpirun's daemons are a step of several tasks.
  EXPECT_EQ(launch_in({{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "3"}}).ranks, 1);
  EXPECT_EQ(launch_in({{"PMI_SIZE", "many"}}).ranks, 1);
}

TEST(Launch, ASlurmStepWithoutPmiLetsNobodyMeet) {
  EXPECT_TRUE(launch_in({}).can_meet);
  EXPECT_FALSE(launch_in({{"SLURM_STEP_NUM_TASKS", "4"}}).can_meet);
  EXPECT_TRUE(launch_in({{"SLURM_STEP_NUM_TASKS", "4"}, {"PMIX_RANK", "0"}}).can_meet);
  EXPECT_TRUE(launch_in({{"SLURM_STEP_NUM_TASKS", "4"}, {"PMI_SIZE", "4"}}).can_meet);
  EXPECT_TRUE(launch_in({{"SLURM_STEP_NUM_TASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "2"}}).can_meet);
}

TEST(Launch, ARankThatFindsItselfAloneIsCutOff) {
  const Launch third{.ranks = 4, .rank = 2, .source = "PMI_SIZE=4"};
  const Launch first{.ranks = 4, .rank = 0, .source = "PMI_SIZE=4"};
  EXPECT_FALSE(refuse_if_cut_off({}, 1));
  EXPECT_FALSE(refuse_if_cut_off(third, 4));
  EXPECT_TRUE(refuse_if_cut_off(third, 1));
  EXPECT_THAT(support::error_of([&] { refuse_if_cut_off(first, 1); }),
              AllOf(HasSubstr("4 ranks were started (PMI_SIZE=4), and each finds itself alone"),
                    HasSubstr("srun --mpi=pmix")));
}

TEST(Launch, MpiStartsWhereRanksCanMeetOrNeedNot) {
  EXPECT_TRUE(may_start_mpi({}));
  EXPECT_TRUE(may_start_mpi({.ranks = 4, .rank = 2}));
  EXPECT_FALSE(may_start_mpi({.ranks = 4, .rank = 2, .can_meet = false}));
  EXPECT_THROW(may_start_mpi({.ranks = 4, .rank = 0, .can_meet = false}), ReplicatedError);
  ::setenv("SLURM_STEP_ID", "7", 1);
  EXPECT_TRUE(may_start_mpi({.can_meet = false}));
  EXPECT_EQ(std::getenv("SLURM_STEP_ID"), nullptr);
}

/// What rank 0 of two says of different starts.
std::string difference(const Arguments& first, const Arguments& second,
                       const std::string& second_digest = "d") {
  std::string text;
  support::ThreadRanks(2).run([&](ranks::ProcessGroup& process_group) {
    const bool is_first = process_group.rank() == 0;
    try {
      require_same_start(is_first ? first : second, is_first ? "d" : second_digest, process_group);
    } catch (const ReplicatedError& error) {
      if (is_first) text = error.what();
    }
  });
  return text;
}

TEST(Start, TheSameOnAllRanks) {
  EXPECT_EQ(difference({}, {}), "");
  EXPECT_EQ(difference({"--seed", "1"}, {"--seed", "1"}), "");
  EXPECT_EQ(difference({}, {}, ""), "");  // a file that can't be read
}

TEST(Start, TheDifferentOptionIsNamed) {
  const auto regex = [](const std::string& end) {
    return MatchesRegex(
        "rank 1 \\(host .*\\) was started with other options than rank 0 \\(host .*\\): " + end +
        "; start all ranks with the same");
  };
  EXPECT_THAT(difference({"--seed", "1"}, {"--seed", "2"}),
              regex("--seed 2 where that has --seed 1"));
  EXPECT_THAT(difference({"--seed=1"}, {"--seed=2"}), regex("--seed=2 where that has --seed=1"));
  EXPECT_THAT(difference({"--seed", "1"}, {"--lr", "1"}), regex("--lr where that has --seed"));
  EXPECT_THAT(difference({}, {"--help"}), regex("--help where that has nothing more"));
  EXPECT_THAT(difference({"a", "b"}, {"ab"}), regex("ab where that has a"));
}

TEST(Start, AnotherBuildIsRefused) {
  EXPECT_THAT(difference({}, {}, "e"),
              MatchesRegex("the program is another build of cllm-dist .* on rank 1 \\(host .*\\) "
                           "than on rank 0 .*"));
}

/// Rank 0 of two, of which the other says something of its own.
class WithStranger final : public ranks::ProcessGroup {
 public:
  explicit WithStranger(std::string words) : words_(std::move(words)) {}
  int rank() const override { return 0; }
  int size() const override { return 2; }
  void use(ranks::Allreduce) override {}
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<std::int32_t>) override {}
  void all_reduce(std::span<std::int64_t>) override {}
  std::string broadcast(std::string bytes) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override { return {bytes, words_}; }
  void all_gather(std::span<float>, std::span<const ranks::Part>) override {}

 private:
  std::string words_;
};

TEST(Start, AnotherVersionIsRefused) {
  const auto error = [](const std::string& words) {
    WithStranger process_group(words);
    return support::error_of([&] { require_same_start({"--seed", "1"}, "d", process_group); });
  };
  using namespace std::string_literals;
  EXPECT_THAT(error("cllm-dist\0"
                    "9.8.7\0e\0far\0--new\0"s),
              HasSubstr(" and 9.8.7 on rank 1 (host far); start the same"));
  // One that gathered its arguments alone.
  EXPECT_THAT(error("--seed\0"
                    "1\0"s),
              HasSubstr(" and of an earlier version on rank 1"));
  EXPECT_THAT(error(""), HasSubstr("of an earlier version"));
}

}  // namespace
}  // namespace cllm::cli
