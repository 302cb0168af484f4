#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace cllm::support {

/// What a rank adds at element i, as every rank knows it of every other: a float whose sums round,
/// and an integer whose sums wrap.
inline float addend(int rank, std::size_t i) {
  return std::sin(static_cast<float>(i % 997) + 0.37f * static_cast<float>(rank));
}
inline std::uint32_t integer_addend(int rank, std::size_t i) {
  return (static_cast<std::uint32_t>(i) + 1) * 2654435761u ^
         static_cast<std::uint32_t>(rank) * 40503u;
}

/// The orders in which `count` ranks (or hosts) add what `value` says that each has for part
/// `part`: those that Note [Schedules] promises, said in another way.
inline float ring_sum(std::size_t count, std::size_t part,
                      const std::function<float(std::size_t)>& value) {
  float sum = value((part + 1) % count);
  for (std::size_t k = 2; k <= count; ++k) sum += value((part + k) % count);
  return sum;
}

/// What the rank that is `behind` the part's owner has of it when `left` ranks of the circle still
/// have something: it added what the one further back by a half of what was left sent it.
inline float halving_sum(std::size_t count, std::size_t part,
                         const std::function<float(std::size_t)>& value) {
  const std::function<float(std::size_t, std::vector<std::size_t>)> partial =
      [&](std::size_t behind, std::vector<std::size_t> sizes) -> float {
    if (sizes.size() == 1) return value((part + 2 * count - behind) % count);
    const std::size_t left = sizes.back();
    sizes.pop_back();
    const float own = partial(behind, sizes);
    return behind + left < sizes.back() ? own + partial(behind + left, sizes) : own;
  };
  std::vector<std::size_t> sizes = {count};
  while (sizes.back() > 1) sizes.push_back((sizes.back() + 1) / 2);
  return partial(0, sizes);
}

}  // namespace cllm::support
