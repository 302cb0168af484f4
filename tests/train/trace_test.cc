#include "cllm/train/trace.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cllm/base/file.h"
#include "support/scratch_directory.h"
#include "support/training_bench.h"

namespace cllm::train {
namespace {

/// The updates that the file has of a rank.
std::ptrdiff_t updates_in(const std::filesystem::path& file, int rank) {
  const auto trace = nlohmann::json::parse(read_file(file));
  return std::ranges::count_if(trace.at("traceEvents"), [&](const auto& event) {
    return event.at("ph") == "X" && event.at("name") == "update" && event.at("pid") == rank;
  });
}

TEST(Trace, AWindowThatEndsEarlyHasWhatThereIs) {
  const support::ScratchDirectory scratch;
  const std::filesystem::path file = scratch.path() / "trace.json";
  support::ThreadRanks(2).run([&](ranks::ProcessGroup& process_group) {
    TrainerOptions options = support::trainer_options(4, 1, 1);
    options.trace_events = 10'000;
    support::TrainingBench bench(support::random_tokens(2000, 3), options, process_group);
    Trace trace(file, 2, 5);
    EXPECT_FALSE(trace.end(bench.trainer, process_group)) << "nothing is recorded yet";
    const auto take_step = [&](std::uint64_t step) {
      trace.before(step, bench.trainer, process_group);
      bench.trainer.step(bench.state);
      return trace.after(step, bench.trainer, process_group);
    };
    for (std::uint64_t step = 1; step <= 3; ++step) EXPECT_FALSE(take_step(step));
    EXPECT_FALSE(std::filesystem::exists(file));
    const bool is_first = process_group.rank() == 0;
    EXPECT_EQ(trace.end(bench.trainer, process_group), is_first);
    EXPECT_FALSE(trace.end(bench.trainer, process_group)) << "it is written";
    if (!is_first) return;
    EXPECT_GT(updates_in(file, 0), 0);
    EXPECT_EQ(updates_in(file, 1), updates_in(file, 0));
  });
  // From the first step again, after going back: the whole window, and no more than that.
  const std::ptrdiff_t of_two_steps = updates_in(file, 0);
  support::ThreadRanks(1).run([&](ranks::ProcessGroup& process_group) {
    TrainerOptions options = support::trainer_options(4, 1, 1);
    options.trace_events = 10'000;
    support::TrainingBench bench(support::random_tokens(2000, 3), options, process_group);
    bench.trainer.step(bench.state);  // the first, which takes its gradient twice
    Trace trace(file, 2, 3);
    for (int time = 0; time < 2; ++time) {
      for (std::uint64_t step = 2; step <= 3; ++step) {
        trace.before(step, bench.trainer, process_group);
        bench.trainer.step(bench.state);
        EXPECT_EQ(trace.after(step, bench.trainer, process_group), step == 3);
      }
      EXPECT_EQ(updates_in(file, 0), of_two_steps);
    }
  });
}

// A run goes on without it, and no rank is left waiting.
TEST(Trace, AFileThatCantBeWrittenIsAProblemOfTheTraceAlone) {
  const support::ScratchDirectory scratch;
  support::ThreadRanks(2).run([&](ranks::ProcessGroup& process_group) {
    TrainerOptions options = support::trainer_options(4, 1, 1);
    options.trace_events = 10'000;
    support::TrainingBench bench(support::random_tokens(2000, 3), options, process_group);
    Trace trace(scratch.path() / "nowhere" / "trace.json", 1, 1);
    trace.before(1, bench.trainer, process_group);
    bench.trainer.step(bench.state);
    const bool is_first = process_group.rank() == 0;
    EXPECT_EQ(trace.after(1, bench.trainer, process_group), is_first);
    EXPECT_EQ(trace.problem().empty(), !is_first) << trace.problem();
    bench.trainer.step(bench.state);
  });
}

}  // namespace
}  // namespace cllm::train
