#include "cllm/mpi/peers.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "cllm/mpi/world.h"

namespace cllm::mpi {
namespace {

void sleep(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

TEST(PeersTest, LeaveTogetherWhoeverIsLate) {
  World world;
  for (int round = 0; round < 4 * world.size(); ++round) {
    const Peers peers;
    world.all_gather("here");
    if (world.rank() == round / 4) sleep(0.02);
  }
  EXPECT_EQ(world.all_gather("").size(), static_cast<std::size_t>(world.size()));
}

// The tags and buffers of the watching thread are its own.
TEST(PeersTest, DoNotDisturbSums) {
  World world;
  const Peers peers;
  for (const ranks::Allreduce method :
       {ranks::Allreduce::kMpi, ranks::Allreduce::kRing, ranks::Allreduce::kFlat}) {
    world.use(method);
    std::vector<std::int32_t> values(100'000, 1);
    std::int32_t expected = 1;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
    for (bool more = true; more;) {
      world.all_reduce(values);
      expected = static_cast<std::int32_t>(static_cast<std::uint32_t>(expected) *
                                           static_cast<std::uint32_t>(world.size()));
      more = world.broadcast(std::chrono::steady_clock::now() < end ? "more" : "") == "more";
    }
    EXPECT_EQ(values, std::vector<std::int32_t>(values.size(), expected));
  }
}

// The job has to be ended, in words.
TEST(ControlTest, DISABLED_Standstill) {
  const Peers peers;
  ranks::heartbeat().set_patience({.seconds = 4, .steps = 0});
  const ranks::Exchange exchange("what never comes");
  sleep(100);
  FAIL() << "nobody ended it";
}

TEST(ControlTest, DISABLED_LongWork) {
  const Peers peers;
  ranks::heartbeat().set_patience({.seconds = 5, .steps = 0});
  World world;
  if (world.rank() == 1) {
    const ranks::Doing doing("something long");
    sleep(12);
  }
  world.all_gather("");
}

}  // namespace
}  // namespace cllm::mpi
