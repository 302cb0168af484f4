#include "cllm/train/buckets.h"

#include <algorithm>

namespace cllm::train {
namespace {

/// A bucket of 1 MiB is long past the latency of a message, and small models still have several.
constexpr std::size_t kBucketFloats = std::size_t{1} << 18;

/// Buckets that there should be at least, however long latency is: while one is under way, backward
/// computes another.
constexpr std::size_t kFewestBuckets = 4;

}  // namespace

std::vector<Bucket> buckets_of(const model::Layout& layout, const model::Tiling& tiling,
                               std::size_t worthwhile_bytes) {
  const std::size_t least =
      std::max(kBucketFloats,
               std::min(worthwhile_bytes / sizeof(float), layout.trained_size() / kFewestBuckets));
  std::vector<Bucket> buckets;
  for (std::size_t g = 0; g < layout.groups().size(); ++g) {
    const model::Group& group = layout.groups()[g];
    // One that has nothing to train; but for the last, behind which token rows come.
    const bool is_last = g + 1 == layout.groups().size();
    if (group.size == 0 && !(is_last && layout.trains_table())) continue;
    if (buckets.empty() || buckets.back().size >= least) {
      buckets.push_back({g, g, group.offset, 0, 0, 0});
    }
    buckets.back().end_group = g + 1;
    buckets.back().size += group.size;
  }
  for (Bucket& bucket : buckets) {
    const auto before = [&](std::size_t at) {
      std::size_t rows = 0;
      for (const model::Tile& tile : tiling.tiles()) {
        if (layout[tile.tensor].offset < at) rows += tile.rows;
      }
      return rows;
    };
    bucket.first_row = before(bucket.offset);
    bucket.end_row = before(bucket.offset + bucket.size);
  }
  return buckets;
}

}  // namespace cllm::train
