// After warm-up, a training step allocates nothing, on any thread. This program stands in for the
// C library's allocator to see it.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "cllm/model/generator.h"
#include "cllm/train/memory_budget.h"
#include "support/training_bench.h"
#include "support/variants.h"

namespace {

std::atomic<bool> counting = false;
std::atomic<long> allocations = 0;
std::atomic<std::size_t> zeroed = 0;  // bytes of calloc, which all buffers come from
std::atomic<std::size_t> buffers = 0;

void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

void count_buffer(std::size_t bytes) {
  if (!counting.load(std::memory_order_relaxed)) return;
  zeroed.fetch_add(bytes, std::memory_order_relaxed);
  buffers.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  count();
  return __libc_malloc(size);
}
void* calloc(std::size_t n, std::size_t size) {
  count();
  count_buffer(n * size);
  return __libc_calloc(n, size);
}
void* realloc(void* old, std::size_t size) {
  count();
  return __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** result, std::size_t alignment, std::size_t size) {
  count();
  *result = __libc_memalign(alignment, size);
  return *result == nullptr ? ENOMEM : 0;
}
}

namespace cllm::train {
namespace {

/// Allocations of all threads in some steps after the second.
long allocations_of(int ranks, TrainerOptions options, Reduce reduce,
                    const model::ModelConfig& config = support::kSmallModel,
                    const model::Freeze& freeze = {}) {
  options.reduce = reduce;
  options.norms_every = 3;
  allocations = 0;
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    support::TrainingBench bench(support::random_tokens(2000, 3), options, process_group, config,
                                 freeze);
    std::array<std::int64_t, 1> meeting{};
    for (int step = 0; step < 8; ++step) {
      if (step == 2) {
        process_group.all_reduce(meeting);
        counting = true;
      }
      bench.trainer.step(bench.state);
    }
    process_group.all_reduce(meeting);
    counting = false;
    process_group.all_reduce(meeting);
  });
  return allocations;
}

TEST(Allocation, NoneInAStepAfterTheSecond) {
  for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
    EXPECT_EQ(allocations_of(1, support::trainer_options(12, 1, 1), reduce), 0);
    EXPECT_EQ(allocations_of(1, support::trainer_options(12, 3, 3), reduce), 0);
    TrainerOptions teams = support::trainer_options(12, 3, 4);
    teams.team = 2;
    EXPECT_EQ(allocations_of(1, teams, reduce), 0);
    EXPECT_EQ(allocations_of(1, teams, reduce, support::kFactorisedModel), 0);
    EXPECT_EQ(allocations_of(2, support::trainer_options(12, 1, 2), reduce), 0);
    TrainerOptions muon = support::trainer_options(12, 3, 3);
    muon.optimizer.name = "muon";
    EXPECT_EQ(allocations_of(1, muon, reduce), 0);
    EXPECT_EQ(allocations_of(2, muon, reduce), 0);
  }
}

TEST(Allocation, NoneInAStepWithShards) {
  const model::ModelConfig qwen3 = support::of_family(support::kSmallModel, "qwen3");
  for (const char* optimizer : {"adamw", "muon"}) {
    TrainerOptions options = support::trainer_options(12, 3, 2);
    options.optimizer.name = optimizer;
    options.shard = true;
    for (const model::ModelConfig& config : {support::kSmallModel, qwen3}) {
      EXPECT_EQ(allocations_of(2, options, Reduce::kExact, config), 0) << optimizer;
      EXPECT_EQ(allocations_of(3, options, Reduce::kFp32, config), 0) << optimizer;
    }
  }
}

TEST(Allocation, NoneInAStepWithFrozenTensorsOrAdapters) {
  const model::ModelConfig llama = support::of_family(support::kSmallModel, "llama");
  for (const char* optimizer : {"adamw", "muon"}) {
    TrainerOptions options = support::trainer_options(12, 3, 4);
    options.team = 2;
    options.optimizer.name = optimizer;
    for (const int ranks : {1, 2}) {
      EXPECT_EQ(allocations_of(ranks, options, Reduce::kExact, llama,
                               model::Freeze("embeddings,layers:0")),
                0);
      EXPECT_EQ(allocations_of(ranks, options, Reduce::kExact, support::with_lora(llama, 5, 16),
                               model::Freeze("base")),
                0);
    }
  }
}

TEST(Allocation, NoneInAStepOfAnyVariant) {
  for (const support::Variant& variant : support::all_variants(support::kSmallModel)) {
    SCOPED_TRACE(variant.name);
    TrainerOptions teams = support::trainer_options(12, 3, 4);
    teams.team = 2;
    for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
      EXPECT_EQ(allocations_of(1, teams, reduce, variant.config), 0);
    }
  }
}

/// Bytes of the buffers that `action` makes, without the space that each needs to be aligned.
template <typename Action>
std::size_t buffer_bytes_of(const Action& action) {
  zeroed = buffers = 0;
  counting = true;
  action();
  counting = false;
  return zeroed - buffers * kBufferAlignment;
}

TEST(Allocation, OfAWorkspaceIsWhatItsBytesSay) {
  for (const support::Variant& variant : support::all_variants(support::kSmallModel)) {
    SCOPED_TRACE(variant.name);
    const model::Model model(variant.config, kernels::select_kernels());
    const model::MicroBatchShape shape{3, variant.config.context, 16};
    for (const model::Purpose purpose :
         {model::Purpose::kTraining, model::Purpose::kEvaluation, model::Purpose::kGeneration}) {
      EXPECT_EQ(buffer_bytes_of([&] { model::Workspace(model.network(), shape, purpose); }),
                model::Workspace::bytes_for(model.network(), shape, purpose));
    }
  }
}

// The text that the model writes while it trains is in the budget, on the rank that writes it.
TEST(Allocation, OfAGeneratorIsInTheMemoryBudget) {
  const model::Model model(support::kSmallModel, kernels::select_kernels());
  const AlignedBuffer<float> parameters(model.layout().flat_size());
  const std::size_t bytes =
      buffer_bytes_of([&] { model::Generator generator(model, parameters.span()); });
  EXPECT_LE(bytes, model::Generator::bytes_for(model.network()));
  EXPECT_GT(bytes, model::Generator::bytes_for(model.network()) / 2);
  ranks::SingleProcess alone;
  const auto evaluation = [&](bool samples) {
    return memory_budget(model.layout(), support::trainer_options(12, 3, 1), false, 0, alone,
                         samples)
        .evaluation;
  };
  EXPECT_GE(evaluation(true), model::Generator::bytes_for(model.network()));
  EXPECT_GE(evaluation(true), evaluation(false));
}

TEST(Allocation, OfATrainerFitsInItsMemoryBudget) {
  for (const support::Variant& variant : support::all_variants(support::kSmallModel)) {
    SCOPED_TRACE(variant.name);
    for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
      TrainerOptions options = support::trainer_options(12, 3, 3);
      options.reduce = reduce;
      ranks::SingleProcess alone;
      const std::vector<std::uint32_t> tokens = support::random_tokens(2000, 3);
      const data::TokenView view{std::span<const std::uint32_t>(tokens)};
      const data::Sequences sequences(
          view, data::WindowSampler(1, tokens.size(), variant.config.context));
      const model::Model model(variant.config, kernels::select_kernels());
      const MemoryBudget budget = memory_budget(model.layout(), options, false, 0, alone);
      const std::size_t bytes = buffer_bytes_of(
          [&] { Trainer trainer(model, kernels::select_kernels(), options, sequences, alone); });
      EXPECT_LE(bytes, budget.sums + budget.threads);
      // And the activations are in it.
      EXPECT_GT(bytes, Trainer::thread_bytes(model.network(), options, alone));
    }
  }
}

TEST(Allocation, OfATrainerWithFrozenTensorsFitsInItsMemoryBudget) {
  const model::ModelConfig llama = support::of_family(support::kSmallModel, "llama");
  for (const auto& [config, words] :
       {std::pair{llama, "embeddings,layers:0"}, {support::with_lora(llama, 8, 16), "base"}}) {
    const TrainerOptions options = support::trainer_options(12, 3, 3);
    ranks::SingleProcess alone;
    const std::vector<std::uint32_t> tokens = support::random_tokens(2000, 3);
    const data::TokenView view{std::span<const std::uint32_t>(tokens)};
    const data::Sequences sequences(view, data::WindowSampler(1, tokens.size(), config.context));
    const model::Model model(config, kernels::select_kernels(), model::Freeze(words));
    const MemoryBudget budget = memory_budget(model.layout(), options, false, 0, alone);
    const std::size_t bytes = buffer_bytes_of(
        [&] { Trainer trainer(model, kernels::select_kernels(), options, sequences, alone); });
    EXPECT_LE(bytes, budget.sums + budget.threads);
    EXPECT_GT(bytes, Trainer::thread_bytes(model.network(), options, alone));
  }
}

TEST(Allocation, IsCountedOnEveryThread) {
  counting = true;
  allocations = 0;
  std::thread([] { std::make_unique<int>(1); }).join();
  std::unique_ptr<void, decltype(&std::free)> block(std::malloc(100), &std::free);
  counting = false;
  EXPECT_GE(allocations, 2);
}

}  // namespace
}  // namespace cllm::train
