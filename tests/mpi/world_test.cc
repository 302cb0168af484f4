#include "cllm/mpi/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <new>
#include <numeric>
#include <thread>
#include <tuple>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/mpi/environment.h"
#include "cllm/ranks/agreement.h"

namespace cllm::mpi {
namespace {

using ranks::Allreduce;
using testing::HasSubstr;

/// Elements of the largest sum; beyond 2^28, World sends more than one piece.
std::size_t most_elements() {
  const char* text = std::getenv("CLLM_MPI_ELEMENTS");
  return text == nullptr ? (std::size_t{1} << 22) + 3 : std::stoull(text);
}

class WorldTest : public testing::Test {
 protected:
  bool is_last() const { return world_.rank() == world_.size() - 1; }
  /// 1 + 2 + … + size.
  std::int64_t triangle() const { return std::int64_t{world_.size()} * (world_.size() + 1) / 2; }

  World world_;
};

/// Sums by each method, of arrays from empty to longer than what goes at once.
class SumTest : public WorldTest,
                public testing::WithParamInterface<std::tuple<ranks::Allreduce, std::size_t>> {
 protected:
  SumTest() { world_.use(std::get<0>(GetParam())); }
  std::size_t size() const { return std::get<1>(GetParam()); }
};

std::string name_of(const testing::TestParamInfo<SumTest::ParamType>& test) {
  const auto name = std::ranges::find(ranks::kAllreduceNames, std::get<0>(test.param),
                                      &ranks::AllreduceName::method);
  return std::string(name->name) + std::to_string(std::get<1>(test.param));
}

// With up to 5 ranks, the small ones include an element less and one more than there are ranks.
INSTANTIATE_TEST_SUITE_P(Sizes, SumTest,
                         testing::Combine(testing::Values(Allreduce::kMpi, Allreduce::kRing,
                                                          Allreduce::kHalving, Allreduce::kFlat),
                                          testing::Values(0, 1, 2, 3, 4, 5, 6, 1023, 65537,
                                                          most_elements())),
                         name_of);

TEST_F(WorldTest, RanksAreNumbered) {
  EXPECT_GE(world_.rank(), 0);
  EXPECT_LT(world_.rank(), world_.size());
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(world_.size()));
  ranks[static_cast<std::size_t>(world_.rank())] = 1;
  world_.all_reduce(ranks);
  EXPECT_EQ(ranks, std::vector<std::int64_t>(ranks.size(), 1));
}

// Every addend and every partial sum is a whole number below 2^24, so the float sum is exact.
TEST_P(SumTest, FloatsAreTheSumOfAllRanks) {
  std::vector<float> values(size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>((world_.rank() + 1) * static_cast<int>(i % 1000 + 1));
  }
  world_.all_reduce(values);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    wrong += values[i] != static_cast<float>(triangle() * static_cast<std::int64_t>(i % 1000 + 1));
  }
  EXPECT_EQ(wrong, 0u);
}

TEST_P(SumTest, IntegersAreTheSumOfAllRanksInAll64Bits) {
  constexpr std::int64_t kLarge = std::int64_t{1} << 55;
  std::vector<std::int64_t> values(size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = (world_.rank() + 1) * (static_cast<std::int64_t>(i) - kLarge);
  }
  world_.all_reduce(values);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    wrong += values[i] != triangle() * (static_cast<std::int64_t>(i) - kLarge);
  }
  EXPECT_EQ(wrong, 0u);
}

// Every rank's addend is near the largest int32, so with two ranks or more all sums wrap.
TEST_P(SumTest, IntegersWrapIn32Bits) {
  const auto value = [](int rank, std::size_t i) {
    return 0x7FFFFFFFu - static_cast<std::uint32_t>(rank) * 12345u - static_cast<std::uint32_t>(i);
  };
  std::vector<std::int32_t> values(size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<std::int32_t>(value(world_.rank(), i));
  }
  world_.all_reduce(values);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t expected = 0;
    for (int rank = 0; rank < world_.size(); ++rank) expected += value(rank, i);
    wrong += values[i] != static_cast<std::int32_t>(expected);
  }
  EXPECT_EQ(wrong, 0u);
}

// As in a training step: a thread sums while this one waits for it, then this one does.
TEST_P(SumTest, ThreadsTakeTurns) {
  std::vector<std::int32_t> values(size(), 1);
  std::vector<float> floats(size(), 1);
  std::int32_t expected = 1;
  for (int round = 0; round < 3; ++round) {
    std::thread([&] {
      world_.all_reduce(values);
      world_.all_reduce(floats);
    }).join();
    world_.all_reduce(values);
    world_.all_reduce(floats);
    expected *= world_.size() * world_.size();
  }
  EXPECT_EQ(values, std::vector<std::int32_t>(size(), expected));
  EXPECT_EQ(floats, std::vector<float>(size(), static_cast<float>(expected)));
}

// Fractions round, and may do so in another order than ours; but all ranks must have the same bits,
// each within the bound of n-1 roundings: (n-1) * epsilon/2 * sum of magnitudes, which are below 1
// per rank.
TEST_P(SumTest, RoundedSumsHaveTheSameBitsOnEveryRank) {
  const auto value = [](int rank, std::size_t i) {
    return std::sin(static_cast<float>(i % 5000) + 0.37f * static_cast<float>(rank));
  };
  std::vector<float> values(size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = value(world_.rank(), i);
  world_.all_reduce(values);
  const double bound = (world_.size() - 1) * 0x1p-24 * world_.size();
  std::uint64_t hash = 0;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    double exact = 0;
    for (int rank = 0; rank < world_.size(); ++rank) exact += double{value(rank, i)};
    wrong += !(std::abs(double{values[i]} - exact) <= bound);
    hash = hash * 0x9E3779B97F4A7C15u + std::bit_cast<std::uint32_t>(values[i]);
  }
  EXPECT_EQ(wrong, 0u);
  const std::string mine = std::to_string(hash);
  for (const std::string& other : world_.all_gather(mine)) EXPECT_EQ(other, mine);
}

TEST_F(WorldTest, TheMethodMayChangeBetweenSums) {
  std::int32_t expected = 1;
  std::vector<std::int32_t> values(1000, 1);
  for (const ranks::Allreduce method : {Allreduce::kRing, Allreduce::kRing, Allreduce::kMpi,
                                        Allreduce::kHalving, Allreduce::kFlat, Allreduce::kRing}) {
    world_.use(method);
    world_.all_reduce(values);
    expected *= world_.size();
  }
  EXPECT_EQ(values, std::vector<std::int32_t>(1000, expected));
}

TEST_F(WorldTest, BroadcastGivesRank0sBytes) {
  for (const std::size_t size : {0U, 1U, 5U, 100'000U, 5'000'000U}) {
    std::string expected(size, '\0');
    std::iota(expected.begin(), expected.end(), '\x7f');  // every value of a byte, also NUL
    // What other ranks hand in has another length, and counts for nothing.
    const std::string mine =
        world_.rank() == 0 ? expected : std::string(static_cast<std::size_t>(world_.rank()), 'x');
    EXPECT_EQ(world_.broadcast(mine), expected) << size;
  }
}

TEST_F(WorldTest, AllGatherGivesEveryRanksBytesInOrder) {
  const auto bytes = [](int rank) {  // rank 0 has none, and each another number
    return std::string(static_cast<std::size_t>(rank) * 1000, static_cast<char>('a' + rank)) +
           std::string(rank % 2 == 0 ? 0 : 2, '\0');
  };
  const std::vector<std::string> all = world_.all_gather(bytes(world_.rank()));
  ASSERT_EQ(all.size(), static_cast<std::size_t>(world_.size()));
  for (int rank = 0; rank < world_.size(); ++rank) {
    EXPECT_EQ(all[static_cast<std::size_t>(rank)], bytes(rank)) << rank;
  }
}

TEST_F(WorldTest, AllGatherOfNothingIsNothing) {
  const std::vector<std::string> all = world_.all_gather("");
  EXPECT_EQ(all, std::vector<std::string>(static_cast<std::size_t>(world_.size())));
}

/// Parts of unlike sizes, with gaps between them: rank 1 has none.
std::vector<ranks::Part> unlike_parts(int ranks, std::size_t most) {
  std::vector<ranks::Part> parts;
  std::size_t offset = 3;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::size_t size = rank == 1 ? 0 : most - static_cast<std::size_t>(rank) * 7;
    parts.push_back({offset, size});
    offset += size + 5;
  }
  return parts;
}

float value_of(int rank, std::size_t i) {
  return static_cast<float>(rank + 1) * 0.37f + static_cast<float>(i % 1000);
}

/// How many elements of all ranks' parts, or between them, aren't what they should be once
/// `gather` has given each rank's to all.
template <typename Gather>
std::size_t wrong_after(const World& world, std::size_t most, const Gather& gather) {
  const std::vector<ranks::Part> parts = unlike_parts(world.size(), most);
  std::vector<float> values(parts.back().offset + parts.back().size + 2, -1), expected = values;
  for (int rank = 0; rank < world.size(); ++rank) {
    const ranks::Part& part = parts[static_cast<std::size_t>(rank)];
    for (std::size_t i = part.offset; i < part.offset + part.size; ++i) {
      expected[i] = value_of(rank, i);
      if (rank == world.rank()) values[i] = expected[i];
    }
  }
  gather(std::span<float>(values), std::span<const ranks::Part>(parts));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) wrong += values[i] != expected[i];
  return wrong;
}

TEST_F(WorldTest, AllGatherGivesEveryRanksPart) {
  for (const auto& [name, method] : ranks::kAllreduceNames) {
    world_.use(method);
    for (const std::size_t most :
         {std::size_t{35}, std::size_t{1000}, (std::size_t{1} << 20) + 9}) {
      EXPECT_EQ(wrong_after(world_, most,
                            [&](auto values, auto parts) { world_.all_gather(values, parts); }),
                0u)
          << name;
    }
  }
  // Nothing to send, and nothing done: told apart.
  EXPECT_EQ(wrong_after(world_, 35, [](auto, auto) {}) > 0,
            world_.size() > 2 || world_.rank() == 1);
}

// Whole numbers, whose sums are exact; the longest goes through MPI in more than one piece.
TEST_F(WorldTest, ReduceScatterGivesEachRankTheSumOfItsPart) {
  for (const auto& [name, method] : ranks::kAllreduceNames) {
    world_.use(method);
    for (const std::size_t most :
         {std::size_t{35}, std::size_t{1000}, (std::size_t{1} << 21) + 9}) {
      const std::vector<ranks::Part> parts = unlike_parts(world_.size(), most);
      const ranks::Part mine = parts[static_cast<std::size_t>(world_.rank())];
      std::vector<float> floats(parts.back().offset + parts.back().size + 2);
      std::vector<std::int32_t> integers(floats.size());
      for (std::size_t i = 0; i < floats.size(); ++i) {
        integers[i] = (world_.rank() + 1) * static_cast<int>(i % 1000 + 1);
        floats[i] = static_cast<float>(integers[i]);
      }
      world_.reduce_scatter(floats, parts);
      world_.reduce_scatter(integers, parts);
      std::size_t wrong = 0;
      for (std::size_t i = mine.offset; i < mine.offset + mine.size; ++i) {
        const std::int64_t sum = triangle() * static_cast<std::int64_t>(i % 1000 + 1);
        wrong += floats[i] != static_cast<float>(sum);
        wrong += integers[i] != sum;
      }
      EXPECT_EQ(wrong, 0u) << name << " " << most;
    }
  }
}

// As where parts are long, or lie further apart than MPI counts.
TEST_F(WorldTest, AllGatherGoesByPiecesAndByTurns) {
  for (const std::size_t furthest : {std::size_t{10}, std::size_t{1} << 30}) {
    AllGather pieces(MPI_COMM_WORLD, 100, furthest);
    for (const std::size_t most : {std::size_t{35}, std::size_t{200}, std::size_t{1037}}) {
      EXPECT_EQ(
          wrong_after(world_, most, [&](auto values, auto parts) { pieces.run(values, parts); }),
          0u);
    }
  }
}

TEST_F(WorldTest, GatherGivesRank0AllBytesInPieces) {
  const auto bytes = [](int rank) {  // rank 1 has none, and rank 0 and others more than a piece
    const std::size_t size =
        rank == 1 ? 0 : (std::size_t{9} << 20) + static_cast<std::size_t>(rank);
    return std::string(size, static_cast<char>('a' + rank));
  };
  std::vector<std::string> all(static_cast<std::size_t>(world_.size()));
  world_.gather(bytes(world_.rank()), [&](int rank, std::string_view piece) {
    all[static_cast<std::size_t>(rank)] += piece;
  });
  for (int rank = 0; rank < world_.size(); ++rank) {
    EXPECT_TRUE(all[static_cast<std::size_t>(rank)] == (world_.rank() == 0 ? bytes(rank) : ""));
  }
  // An error of rank 0's leaves no rank waiting, and nothing in the way of what comes next.
  const auto refuse = [](int, std::string_view) { fail("no room"); };
  if (world_.rank() == 0) {
    EXPECT_THROW(world_.gather(bytes(2), refuse), Error);
  } else {
    world_.gather(bytes(2), refuse);
  }
  EXPECT_EQ(world_.all_gather("x").size(), all.size());
}

/// The message of the ReplicatedError that `work` ends in on this rank; empty where it ends in
/// none.
std::string agreed_error(World& world, const std::function<void()>& work) {
  try {
    ranks::in_agreement(world, work);
  } catch (const ReplicatedError& error) {
    return error.what();
  }
  return {};
}

TEST_F(WorldTest, AgreementThatAllIsWell) {
  int calls = 0;
  EXPECT_EQ(agreed_error(world_, [&] { ++calls; }), "");
  EXPECT_EQ(calls, 1);
}

TEST_F(WorldTest, AFailureOfOneRankIsThrownOnAll) {
  const std::string name =
      world_.size() == 1 ? "" : fmt::format("rank {} (host {}): ", world_.size() - 1, host_name());
  EXPECT_EQ(agreed_error(world_,
                         [&] {
                           if (is_last()) fail("the file is missing");
                         }),
            name + "the file is missing");
}

TEST_F(WorldTest, AFailureOfRank0IsThrownOnAllWithoutItsNumber) {
  EXPECT_EQ(agreed_error(world_,
                         [&] {
                           if (world_.rank() == 0) fail("the disk is full");
                         }),
            "the disk is full");
}

TEST_F(WorldTest, AFailureThatAllMeetIsSaidOnce) {
  EXPECT_EQ(agreed_error(world_, [] { fail("--steps 0"); }), "--steps 0");
}

TEST_F(WorldTest, OfDifferentFailuresTheFirstRanksIsSaid) {
  EXPECT_EQ(agreed_error(world_, [&] { fail("failure {}", world_.rank()); }), "failure 0");
}

TEST_F(WorldTest, LackOfMemoryOnOneRankIsThrownOnAll) {
  EXPECT_THAT(agreed_error(world_,
                           [&] {
                             if (is_last()) throw std::bad_alloc();
                           }),
              HasSubstr("out of memory"));
}

TEST_F(WorldTest, AfterAFailureTheRanksAreStillInStep) {
  agreed_error(world_, [&] {
    if (is_last()) fail("something");
  });
  std::vector<std::int64_t> votes = {1};
  world_.all_reduce(votes);
  EXPECT_EQ(votes[0], world_.size());
}

TEST(ControlTest, DISABLED_FirstRankFails) { EXPECT_NE(World().rank(), 0); }

TEST(ControlTest, DISABLED_LastRankFails) {
  const World world;
  EXPECT_NE(world.rank(), world.size() - 1);
}

}  // namespace
}  // namespace cllm::mpi

int main(int argc, char** argv) {
  cllm::mpi::Environment environment(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
