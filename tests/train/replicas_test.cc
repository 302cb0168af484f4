#include "cllm/train/replicas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "cllm/model/gradient.h"
#include "cllm/train/adamw.h"
#include "support/thread_ranks.h"

namespace cllm::train {
namespace {

using testing::HasSubstr;

constexpr model::ModelConfig kShape{
    .layers = 2, .heads = 2, .channels = 8, .context = 5, .vocabulary = 30};

/// A state as every rank has it.
State make_state(const model::Layout& layout) {
  State state(layout, AdamW::kBuffers);
  RandomStream random(1, 0);
  for (const std::span<float> floats : state.floats()) {
    for (float& value : floats) value = static_cast<float>(random.below(1000)) / 7;
  }
  state.step = 12;
  state.tokens_seen = 3456;
  state.scale_exponents.assign(model::Tiling(layout).rows(), 20);
  state.gradient_norms = {0.1, 0.2};
  state.best = Score{10, 2.5};
  return state;
}

void flip_bit(float& value) {
  value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) ^ 1u);
}

/// What each rank has at the end: the text that was returned or thrown, and the digest.
struct Found {
  std::string text;
  std::string digest;
  bool thrown = false;
};

/// Lets ranks compare a state that `change` spoils on each.
template <typename Change>
std::vector<Found> compare(int ranks, OnMismatch action, const Change& change) {
  std::vector<Found> found(static_cast<std::size_t>(ranks));
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    const model::Layout layout(kShape);
    State state = make_state(layout);
    ThreadPool pool(1 + process_group.rank() % 2);
    change(process_group.rank(), state);
    Found& mine = found[static_cast<std::size_t>(process_group.rank())];
    try {
      mine.text = check_replicas(state, layout, action, pool, process_group);
    } catch (const ReplicatedError& error) {
      mine.text = error.what();
      mine.thrown = true;
    }
    mine.digest = digest_of(state, pool);
  });
  return found;
}

TEST(Replicas, EqualStatesPass) {
  for (const Found& found : compare(4, OnMismatch::kStop, [](int, State&) {})) {
    EXPECT_EQ(found.text, "");
    EXPECT_FALSE(found.thrown);
  }
}

TEST(Replicas, OneFlippedBitNamesTheRank) {
  const auto spoil_2 = [](int rank, State& state) {
    if (rank == 2) flip_bit(state.buffers[1].values()[77]);
  };
  for (const Found& found : compare(4, OnMismatch::kStop, spoil_2)) {
    EXPECT_TRUE(found.thrown);
    EXPECT_THAT(found.text, HasSubstr("after step 12 the weights of rank 2 (host "));
    EXPECT_THAT(found.text, testing::Not(HasSubstr("rank 1")));
  }
}

TEST(Replicas, EveryPartOfTheStateCounts) {
  const std::vector<void (*)(State&)> changes = {
      [](State& state) { flip_bit(state.parameters[3]); },
      [](State& state) { flip_bit(state.buffers[0].values()[3]); },
      [](State& state) { state.scale_exponents.back() += 1; },
      [](State& state) { state.gradient_norms.back() += 1e-15; },
      [](State& state) { state.tokens_seen += 1; },
      [](State& state) { state.sequences += 1; }};
  for (const auto& change : changes) {
    const auto spoil_1 = [&](int rank, State& state) {
      if (rank == 1) change(state);
    };
    EXPECT_TRUE(compare(2, OnMismatch::kStop, spoil_1)[0].thrown);
  }
}

TEST(Replicas, RestoreTakesRank0sWhereMostAgreeWithIt) {
  const auto spoil_1 = [](int rank, State& state) {
    if (rank != 1) return;
    flip_bit(state.parameters[5]);
    state.buffers[0].values()[6] = -0.0f;
    state.gradient_norms.clear();
    state.step = 11;
  };
  const std::string whole = compare(1, OnMismatch::kStop, [](int, State&) {})[0].digest;
  for (const Found& found : compare(3, OnMismatch::kRestore, spoil_1)) {
    EXPECT_FALSE(found.thrown);
    EXPECT_THAT(found.text, HasSubstr("rank 1"));
    EXPECT_EQ(found.digest, whole);
  }
}

TEST(Replicas, RestoreStopsWhereRank0IsNotOfTheMost) {
  const auto spoil_0 = [](int rank, State& state) {
    if (rank == 0) flip_bit(state.parameters[5]);
  };
  EXPECT_TRUE(compare(3, OnMismatch::kRestore, spoil_0)[1].thrown);
  const Found of_two = compare(2, OnMismatch::kRestore, spoil_0)[1];
  EXPECT_TRUE(of_two.thrown);
  EXPECT_THAT(of_two.text, HasSubstr("no more than half agree"));
}

}  // namespace
}  // namespace cllm::train
