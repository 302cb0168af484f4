#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cllm::mpi {

/// What a rank adds at element i, as every rank knows it of every other.
inline float addend(int rank, std::size_t i) {
  return std::sin(static_cast<float>(i % 997) + 0.37f * static_cast<float>(rank));
}

/// How many of `count` elements, summed by `ring`, have other bits than expected(i, count).
template <typename Summing, typename Expected>
std::size_t wrong_after_sum(Summing& ring, int rank, std::size_t count, const Expected& expected) {
  // One element more, which nobody may touch.
  std::vector<float> values(count + 1);
  for (std::size_t i = 0; i <= count; ++i) values[i] = addend(rank, i);
  ring.all_reduce(std::span(values).first(count));
  std::size_t wrong = values[count] != addend(rank, count);
  for (std::size_t i = 0; i < count; ++i) {
    wrong +=
        std::bit_cast<std::uint32_t>(values[i]) != std::bit_cast<std::uint32_t>(expected(i, count));
  }
  return wrong;
}

}  // namespace cllm::mpi
