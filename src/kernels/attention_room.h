#pragma once

#include <cstddef>

#include "cllm/kernels/attention.h"
#include "products.h"

/// What attention works in, of one thread. An unnamed namespace in a header, on purpose: see Note
/// [Files of an implementation] in tables.h.
namespace cllm::kernels {
namespace {

/// Rows are copied with zeros behind them, so that they are whole tiles of any implementation.
constexpr std::size_t kPaddedColumns = 32;

struct AttentionRoom {
  std::size_t width;                             ///< d with its padding
  float *keys, *values, *key_sums, *value_sums;  ///< (kKeyBlock, width); sums of dk and dv
  float *queries, *douts;                        ///< (kQueryBlock, width)
  float *packed_queries, *packed_douts;          ///< (kQueryBlock, d) as panels of B
  float *scores, *dscores;                       ///< (kKeyBlock, kQueryBlock)
  float *lasts, *begins;                         ///< (kQueryBlock): keys that a query sees
  float *tops, *sums, *factors;                  ///< (kQueryBlock)
  float* spare;                                  ///< a tile
  float* of_queries;                             ///< (T): sums of exponentials, or out · dout
};

/// The room from `base` on, and how many floats it takes.
struct PlacedRoom {
  AttentionRoom room;
  std::size_t floats;
};

inline PlacedRoom place_room(float* base, std::size_t size, std::size_t positions) {
  const std::size_t width = (size + kPaddedColumns - 1) / kPaddedColumns * kPaddedColumns;
  std::size_t used = 0;
  const auto take = [&](std::size_t floats) {
    float* const taken = base == nullptr ? nullptr : base + used;
    used += (floats + 15) / 16 * 16;
    return taken;
  };
  const auto of_keys = [&] { return take(kKeyBlock * width); };
  const auto of_queries = [&] { return take(kQueryBlock * width); };
  const auto of_both = [&] { return take(kKeyBlock * kQueryBlock); };
  const auto one_of_queries = [&] { return take(kQueryBlock); };
  const AttentionRoom room{.width = width,
                           .keys = of_keys(),
                           .values = of_keys(),
                           .key_sums = of_keys(),
                           .value_sums = of_keys(),
                           .queries = of_queries(),
                           .douts = of_queries(),
                           .packed_queries = of_queries(),
                           .packed_douts = of_queries(),
                           .scores = of_both(),
                           .dscores = of_both(),
                           .lasts = one_of_queries(),
                           .begins = one_of_queries(),
                           .tops = one_of_queries(),
                           .sums = one_of_queries(),
                           .factors = one_of_queries(),
                           .spare = take(kLargestTile),
                           .of_queries = take(positions)};
  return {room, used};
}

}  // namespace
}  // namespace cllm::kernels
