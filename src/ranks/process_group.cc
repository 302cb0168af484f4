#include "cllm/ranks/process_group.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cllm::ranks {

namespace {

/// Floats that are given to all ranks at a time.
constexpr std::size_t kPieceFloats = std::size_t{1} << 22;

}  // namespace

// Who has nothing better sums it all.
void ProcessGroup::reduce_scatter(std::span<float> values, std::span<const Part>) {
  all_reduce(values);
}
void ProcessGroup::reduce_scatter(std::span<std::int32_t> values, std::span<const Part>) {
  all_reduce(values);
}

void ProcessGroup::gather(const std::string& bytes, const Take& take) {
  const std::vector<std::string> all = all_gather(bytes);
  if (rank() != 0) return;
  for (std::size_t i = 0; i < all.size(); ++i) take(static_cast<int>(i), all[i]);
}

void broadcast(ProcessGroup& process_group, std::span<float> values) {
  if (process_group.size() == 1) return;
  for (std::size_t first = 0; first < values.size(); first += kPieceFloats) {
    const std::span<float> piece =
        values.subspan(first, std::min(kPieceFloats, values.size() - first));
    std::string bytes;
    if (process_group.rank() == 0) {
      bytes.assign(reinterpret_cast<const char*>(piece.data()), piece.size_bytes());
    }
    bytes = process_group.broadcast(std::move(bytes));
    std::memcpy(piece.data(), bytes.data(), piece.size_bytes());
  }
}

}  // namespace cllm::ranks
