// After warm-up, a training step allocates nothing, on any thread. This program stands in for the
// C library's allocator to see it.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "support/training_bench.h"

namespace {

std::atomic<bool> counting = false;
std::atomic<long> allocations = 0;

void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
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
                    const model::ModelConfig& config = support::kSmallModel) {
  options.reduce = reduce;
  allocations = 0;
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    support::TrainingBench bench(support::random_tokens(2000, 3), options, process_group, config);
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
