#include "cllm/train/wave_sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "cllm/base/error.h"
#include "support/thread_ranks.h"

namespace cllm::train {
namespace {

/// Two waves of an array of 12, of which rank r of 3 has the elements from 4 r on: two, and one.
std::vector<std::vector<ranks::Part>> two_waves() {
  return {{{0, 2}, {4, 2}, {8, 2}}, {{2, 1}, {6, 1}, {10, 0}}};
}

TEST(WaveSender, GivesAllRanksTheWavesInTurn) {
  support::ThreadRanks(3).run([](ranks::ProcessGroup& process_group) {
    std::vector<float> values(12, -1);
    WaveSender sender(process_group, values, two_waves());
    const auto first = static_cast<std::size_t>(process_group.rank()) * 4;
    for (int step = 1; step <= 3; ++step) {
      const auto value = static_cast<float>(step * 10 + process_group.rank());
      std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(first), 2, value);
      sender.send();
      values[first + 2] = value + 100;
      sender.send();
      sender.wait();
      EXPECT_GE(sender.seconds(), 0);
      for (std::size_t rank = 0; rank < 3; ++rank) {
        const auto theirs = static_cast<float>(step * 10) + static_cast<float>(rank);
        EXPECT_EQ(values[rank * 4], theirs);
        EXPECT_EQ(values[rank * 4 + 1], theirs);
        EXPECT_EQ(values[rank * 4 + 2], rank < 2 ? theirs + 100 : values[rank * 4 + 2]);
        EXPECT_EQ(values[rank * 4 + 3], -1);
      }
      // Nobody begins the next before all have looked.
      std::vector<std::int64_t> meeting(1);
      process_group.all_reduce(meeting);
    }
  });
}

TEST(WaveSender, OneRankHasNothingToSend) {
  ranks::SingleProcess alone;
  std::vector<float> values(3, 1);
  WaveSender sender(alone, values, {{{0, 3}}});
  sender.send();
  sender.wait();
  EXPECT_EQ(sender.waited_seconds(), 0);
  EXPECT_EQ(values, std::vector<float>(3, 1));
}

/// One of two ranks, whose network is gone.
class Broken final : public ranks::ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  void use(ranks::Allreduce) override {}
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<std::int32_t>) override {}
  void all_reduce(std::span<std::int64_t>) override {}
  std::string broadcast(std::string bytes) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override { return {bytes, bytes}; }
  void all_gather(std::span<float>, std::span<const ranks::Part>) override {
    fail("the network is gone");
  }
};

TEST(WaveSender, AnErrorIsThrownWhereItIsWaitedFor) {
  Broken process_group;
  std::vector<float> values(3);
  WaveSender sender(process_group, values, {{{0, 1}, {1, 1}}, {{2, 1}, {3, 0}}});
  sender.send();
  sender.send();
  EXPECT_THROW(sender.wait(), Error);
}

}  // namespace
}  // namespace cllm::train
