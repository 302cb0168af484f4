#include "cllm/mpi/shared_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "cllm/base/error.h"
#include "cllm/mpi/world.h"

namespace cllm::mpi {
namespace {

class SharedMemoryTest : public testing::Test {
 protected:
  World world_;
  Communicator beside_ = Communicator::of_host(MPI_COMM_WORLD);
};

TEST_F(SharedMemoryTest, IsZeroAndSeenByAll) {
  const SharedMemory memory(beside_.get(), 10'000);
  ASSERT_EQ(memory.size(), 10'000u);
  EXPECT_EQ(std::ranges::count(std::span(memory.data(), memory.size()), std::byte{0}), 10'000);
  world_.all_gather("");  // all have looked
  memory.data()[world_.rank()] = std::byte{7};
  world_.all_gather("");  // all have written
  for (int rank = 0; rank < world_.size(); ++rank) EXPECT_EQ(memory.data()[rank], std::byte{7});
}

TEST_F(SharedMemoryTest, ThatIsNotToBeHadIsAnErrorOfAll) {
  try {
    const SharedMemory memory(beside_.get(), std::size_t{1} << 50);
    ADD_FAILURE() << "a pebibyte";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::ContainsRegex("the ranks of host .* cannot share .*/dev/shm"));
  }
  EXPECT_EQ(world_.all_gather("").size(), static_cast<std::size_t>(world_.size()));
}

}  // namespace
}  // namespace cllm::mpi
