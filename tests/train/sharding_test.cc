// Training where each rank keeps and updates its own part.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/memory_budget.h"
#include "cllm/train/replicas.h"
#include "cllm/train/saved_state.h"
#include "cllm/train/state_gathering.h"
#include "support/scratch_directory.h"
#include "support/training_bench.h"
#include "support/variants.h"

namespace cllm::train {
namespace {

using support::ThreadRanks;
using support::trained;
using support::trainer_options;
using support::TrainingBench;

constexpr int kSteps = 3;

TrainerOptions sharded_options(const std::string& optimizer) {
  TrainerOptions options = trainer_options(6, 1, 1);
  options.optimizer.name = optimizer;
  options.shard = true;
  return options;
}

/// A model of several buckets: they are a MiB at least.
const model::ModelConfig kWide{
    .layers = 2, .heads = 2, .channels = 160, .context = 8, .vocabulary = 1701};

struct Case {
  std::string name;
  model::ModelConfig config;
  const char* frozen = "";
};

std::vector<Case> cases() {
  std::vector<Case> cases;
  for (const support::Variant& variant : support::all_variants(support::kSmallModel)) {
    cases.push_back({variant.name, variant.config});
  }
  for (const char* family : {"gpt2", "qwen3"}) {  // one tied, one not
    const model::ModelConfig config = support::of_family(kWide, family);
    cases.push_back({std::string(family) + "_wide", config});
    cases.push_back({std::string(family) + "_wide_bands", support::with_bands(config)});
  }
  cases.push_back({"frozen_layer", support::kSmallModel, "layers:0"});
  cases.push_back(
      {"frozen_embeddings", support::of_family(support::kSmallModel, "qwen3"), "embeddings"});
  cases.push_back({"codes", support::kFactorisedModel});
  cases.push_back({"lora", support::with_lora(support::kSmallModel, 4, 8)});
  return cases;
}

class Sharding : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, Sharding, testing::ValuesIn(cases()), support::NameOfParameter());

TEST_P(Sharding, GivesTheSameBitsAsOneRank) {
  const auto& [name, config, frozen] = GetParam();
  const model::Freeze freeze(frozen);
  for (const char* optimizer : {"adamw", "muon"}) {
    TrainerOptions options = sharded_options(optimizer);
    const std::vector<double> alone = trained(1, options, kSteps, config, freeze);
    for (const int ranks : {2, 5}) {
      options.threads = ranks == 2 ? 2 : 1;
      EXPECT_EQ(trained(ranks, options, kSteps, config, freeze), alone)
          << optimizer << ", " << ranks << " ranks";
    }
  }
}

// Sums of floats have other bits on other ranks, but the same sums.
TEST(ShardedFloats, AreNearThoseOfOneRank) {
  TrainerOptions options = sharded_options("adamw");
  options.reduce = Reduce::kFp32;
  const std::vector<double> alone = trained(1, options, 1, kWide);
  const std::vector<double> three = trained(3, options, 1, kWide);
  ASSERT_EQ(alone.size(), three.size());
  EXPECT_EQ(three[0], alone[0]);                               // the loss
  EXPECT_NEAR(three[1], alone[1], 1e-5 * std::abs(alone[1]));  // the norm, of sums of six
}

// A step that is skipped, clipped or begun anew ends alike.
TEST(ShardedSteps, JudgeGradientsAlike) {
  TrainerOptions options = sharded_options("muon");
  options.optimizer.clip = 1e-3;
  options.spike_factor = 1.0001;
  for (const OnSpike on_spike : {OnSpike::kClip, OnSpike::kSkip}) {
    options.on_spike = on_spike;
    EXPECT_EQ(trained(3, options, 8), trained(1, options, 8));
  }
}

/// What ranks of a process hold, and what the others are asked for when one writes a checkpoint.
struct ShardedRun {
  ShardedRun(ranks::ProcessGroup& process_group, const TrainerOptions& options,
             const std::filesystem::path& directory, bool background)
      : bench(support::random_tokens(2000, 3, kWide), options, process_group, kWide),
        buffers(find_optimizer(options.optimizer.name).buffers) {
    const model::Layout& layout = bench.model.layout();
    if (bench.trainer.ownership().is_sharded()) {
      gathering.emplace(layout, bench.trainer.ownership(), process_group);
    }
    StateGathering* const all = gathering ? &*gathering : nullptr;
    if (process_group.rank() == 0) {
      io::RunState run;
      run.model = kWide;
      run.state = "{}";
      writer.emplace(
          CheckpointOptions{.directory = directory, .background = background, .gathering = all},
          layout, buffers, bench.trainer.pool(), run, [] {});
    } else if (all != nullptr) {
      sender.emplace(*all, layout, buffers, bench.trainer.pool(), background);
    }
  }

  void step(int count) {
    for (int i = 0; i < count; ++i) bench.trainer.step(bench.state);
    bench.trainer.complete();
  }
  void save() {
    if (sender) sender->save(bench.state);
    if (writer) writer->save(bench.state);
  }
  void finish() {
    if (sender) sender->wait();
    if (writer) writer->wait();
  }

  TrainingBench bench;
  std::span<const BufferSpec> buffers;
  std::optional<StateGathering> gathering;
  std::optional<CheckpointWriter> writer;
  std::optional<StateSender> sender;
};

/// The bytes of a checkpoint of step 3 that so many ranks write, while they go on or not.
std::string written(int ranks, bool background, const std::string& optimizer) {
  const support::ScratchDirectory scratch;
  std::string bytes;
  ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    ShardedRun run(process_group, sharded_options(optimizer), scratch.path(), background);
    run.step(3);
    run.save();
    run.step(2);
    run.finish();
    if (process_group.rank() != 0) return;
    for (const SavedCheckpoint& saved : run.writer->take_reports()) {
      EXPECT_EQ(saved.problem, "");
      bytes = read_file(saved.path);
    }
  });
  return bytes;
}

TEST(ShardedCheckpoints, HaveTheBytesOfOneRanks) {
  for (const char* optimizer : {"adamw", "muon"}) {
    const std::string alone = written(1, true, optimizer);
    ASSERT_FALSE(alone.empty());
    EXPECT_EQ(written(2, false, optimizer), alone) << optimizer;
    EXPECT_EQ(written(3, true, optimizer), alone) << optimizer;
  }
}

// Whoever wrote it, whoever reads it.
TEST(ShardedCheckpoints, AreResumedOnAnyRanks) {
  const support::ScratchDirectory scratch;
  const std::vector<double> undisturbed = trained(1, sharded_options("muon"), 5, kWide);
  std::filesystem::path checkpoint;
  ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    ShardedRun run(process_group, sharded_options("muon"), scratch.path(), true);
    run.step(2);
    run.save();
    run.finish();
    if (process_group.rank() == 0) checkpoint = run.writer->take_reports().at(0).path;
  });
  for (const auto& [ranks, shard] : {std::pair{1, true}, {2, true}, {4, true}, {2, false}}) {
    TrainerOptions options = sharded_options("muon");
    options.shard = shard;
    std::vector<float> parameters;
    ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
      TrainingBench bench(support::random_tokens(2000, 3, kWide), options, process_group, kWide);
      restore(checkpoint, bench.model.layout(), bench.state, process_group);
      for (int step = 2; step < 5; ++step) bench.trainer.step(bench.state);
      bench.trainer.complete();
      if (process_group.rank() + 1 != process_group.size()) return;
      const std::span<const float> values = bench.state.parameters.span();
      parameters.assign(values.begin(), values.end());
    });
    // `undisturbed` begins with five losses and norms.
    const std::vector<double> expected(undisturbed.begin() + 10,
                                       undisturbed.begin() + 10 + std::ssize(parameters));
    EXPECT_EQ(std::vector<double>(parameters.begin(), parameters.end()), expected)
        << ranks << ", " << shard;
  }
}

// Rank 0 can't write: the others are let go, and the next checkpoint is a whole one.
TEST(ShardedCheckpoints, AFailureToWriteLetsTheOthersGo) {
  const support::ScratchDirectory scratch;
  ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    ShardedRun run(process_group, sharded_options("adamw"), scratch.path() / "sub", true);
    run.step(1);
    run.save();  // there is no such directory
    run.finish();
    if (process_group.rank() == 0) {
      EXPECT_NE(run.writer->take_reports().at(0).problem, "");
      std::filesystem::create_directory(scratch.path() / "sub");
    }
    run.save();
    run.finish();
    if (process_group.rank() == 0) {
      EXPECT_EQ(run.writer->take_reports().at(0).problem, "");
    }
  });
}

// Parameters are what ranks hold alike; what each has of its own is compared with nobody's.
TEST(ShardedReplicas, AreComparedByWhatIsAlike) {
  ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    TrainingBench bench(support::random_tokens(2000, 3), sharded_options("adamw"), process_group);
    for (int step = 0; step < 2; ++step) bench.trainer.step(bench.state);
    bench.trainer.complete();
    const auto check = [&] {
      return check_replicas(bench.state, bench.model.layout(), OnMismatch::kRestore,
                            bench.trainer.pool(), process_group);
    };
    EXPECT_EQ(check(), "");
    if (process_group.rank() == 2) bench.state.parameters[5] += 1;
    EXPECT_NE(check(), "");
    EXPECT_EQ(check(), "");
  });
}

TEST(ShardedMemory, OfTheStateIsDividedByTheRanks) {
  const TrainerOptions options = sharded_options("adamw");
  const model::Layout layout(kWide);
  ranks::SingleProcess one;
  const MemoryBudget alone = memory_budget(layout, options, true, 0, one);
  std::mutex mutex;
  std::uint64_t optimizer = 0;
  ThreadRanks(4).run([&](ranks::ProcessGroup& process_group) {
    const MemoryBudget budget = memory_budget(layout, options, true, 0, process_group);
    const TrainingBench bench(support::random_tokens(2000, 3, kWide), options, process_group,
                              kWide);
    std::uint64_t bytes = 0;
    for (const StateBuffer& buffer : bench.state.buffers) bytes += buffer.values().size_bytes();
    EXPECT_EQ(budget.optimizer, bytes);
    EXPECT_LT(budget.optimizer, alone.optimizer * 26 / 100);
    // Rank 0 copies the parameters too, and each what it owns.
    EXPECT_EQ(budget.checkpoint,
              bytes + (process_group.rank() == 0 ? layout.flat_size() * sizeof(float) : 0));
    const std::lock_guard lock(mutex);
    optimizer += budget.optimizer;
  });
  EXPECT_NEAR(static_cast<double>(optimizer), static_cast<double>(alone.optimizer),
              0.01 * static_cast<double>(alone.optimizer));
}

}  // namespace
}  // namespace cllm::train
