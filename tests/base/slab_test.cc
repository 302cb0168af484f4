#include "cllm/base/slab.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <utility>

#include "cllm/base/memory.h"

namespace cllm {
namespace {

TEST(Slab, IsZeroedAndAligned) {
  for (const std::size_t size : {1u, 15u, 16u, 17u, 1000u}) {
    const Slab<float> slab(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slab.data()) % kSlabAlignment, 0u);
    for (const float value : slab.span()) EXPECT_EQ(value, 0.0f);
  }
  EXPECT_EQ(Slab<float>(0).size(), 0u);
}

TEST(Slab, TouchesNoMemoryBeforeItIsWritten) {
  constexpr std::size_t kFloats = std::size_t{32} << 20;
  const std::uint64_t before = resident_memory();
  Slab<float> slab(kFloats);
  EXPECT_LT(resident_memory(), before + kFloats);
  slab.fill(1);
  EXPECT_GE(resident_memory(), before + 3 * kFloats);
}

TEST(Slab, MovesItsMemory) {
  Slab<int> first(10);
  first[3] = 7;
  const int* memory = first.data();
  const Slab<int> second = std::move(first);
  EXPECT_EQ(second.data(), memory);
  EXPECT_EQ(second[3], 7);
}

TEST(Slab, ThrowsWhereMemoryIsShort) {
  EXPECT_THROW(Slab<float>(std::numeric_limits<std::size_t>::max() / 8), std::bad_alloc);
}

}  // namespace
}  // namespace cllm
