#include "cllm/base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <utility>

#include "cllm/base/memory.h"

namespace cllm {
namespace {

TEST(AlignedBuffer, IsZeroedAndAligned) {
  for (const std::size_t size : {1u, 15u, 16u, 17u, 1000u}) {
    const AlignedBuffer<float> buffer(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % kBufferAlignment, 0u);
    for (const float value : buffer.span()) EXPECT_EQ(value, 0.0f);
  }
  EXPECT_EQ(AlignedBuffer<float>(0).size(), 0u);
}

TEST(AlignedBuffer, TouchesNoMemoryBeforeItIsWritten) {
  constexpr std::size_t kFloats = std::size_t{32} << 20;
  const std::uint64_t before = resident_memory();
  AlignedBuffer<float> buffer(kFloats);
  EXPECT_LT(resident_memory(), before + kFloats);
  buffer.fill(1);
  EXPECT_GE(resident_memory(), before + 3 * kFloats);
}

TEST(AlignedBuffer, MovesItsMemory) {
  AlignedBuffer<int> first(10);
  first[3] = 7;
  const int* memory = first.data();
  const AlignedBuffer<int> second = std::move(first);
  EXPECT_EQ(second.data(), memory);
  EXPECT_EQ(second[3], 7);
}

TEST(AlignedBuffer, ThrowsWhereMemoryIsShort) {
  EXPECT_THROW(AlignedBuffer<float>(std::numeric_limits<std::size_t>::max() / 8), std::bad_alloc);
}

}  // namespace
}  // namespace cllm
