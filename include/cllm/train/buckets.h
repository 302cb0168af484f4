#pragma once

#include <cstddef>
#include <vector>

#include "cllm/model/gradient.h"
#include "cllm/model/layout.h"

namespace cllm::train {

/// A contiguous range of the sums that is reduced over ranks in one piece: one or more whole groups
/// of the layout, in the order in which backward completes them, which is the same on all ranks.
struct Bucket {
  std::size_t first_group, end_group;
  std::size_t offset, size;                ///< in elements of a flat buffer
  std::size_t first_row = 0, end_row = 0;  ///< of the tiling
};

/// Whole groups, joined until a bucket is worth a message: has a MiB, or `worthwhile_bytes` where
/// that is more, but there should be several buckets.
std::vector<Bucket> buckets_of(const model::Layout& layout, const model::Tiling& tiling,
                               std::size_t worthwhile_bytes = 0);

}  // namespace cllm::train
