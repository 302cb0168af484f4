#include "cllm/train/group_norms.h"

#include <cmath>
#include <cstddef>
#include <numeric>

namespace cllm::train {
namespace {

/// The name of the group that a tensor is in. A table of tokens that isn't the output layer too
/// lies in front of all groups, and is of the embeddings, the last.
const std::string& group_of(const model::Layout& layout, const model::Tensor& tensor) {
  const std::span<const model::Group> groups = layout.groups();
  const auto has = [&](const model::Group& group) {
    return tensor.offset >= group.offset && tensor.offset - group.offset < group.size;
  };
  const auto found = std::ranges::find_if(groups, has);
  return found == groups.end() ? groups.back().name : found->name;
}

}  // namespace

GroupNorms::GroupNorms(const model::Layout& layout, const RowChunks& rows,
                       const kernels::Kernels& kernels, RowExchange& exchange)
    : rows_(rows), kernels_(kernels), exchange_(exchange), changes_(rows.rows.size()) {
  for (const RowChunks::Chunk& chunk : rows.chunks) {
    const std::string& name = group_of(layout, layout[chunk.tensor]);
    const auto found = std::ranges::find(names_, name);
    group_of_chunk_.push_back(static_cast<std::size_t>(found - names_.begin()));
    if (found == names_.end()) names_.push_back(name);
  }
  gradient_.resize(names_.size());
  update_.resize(names_.size());
}

void GroupNorms::begin(bool measures) {
  measures_ = measures;
  if (measures) std::ranges::fill(changes_, 0.0);
}

void GroupNorms::end(std::span<const double> gradient) {
  if (!measures_) return;
  exchange_.tell(changes_);
  add_up([&](std::size_t chunk) { return gradient[chunk]; }, gradient_);
  add_up(
      [&](std::size_t chunk) {
        const auto first = changes_.begin() + std::ptrdiff_t(rows_.chunks[chunk].first_row);
        const auto end = changes_.begin() + std::ptrdiff_t(rows_.chunks[chunk].end_row);
        return std::accumulate(first, end, 0.0);
      },
      update_);
}

template <typename SquaresOf>
void GroupNorms::add_up(const SquaresOf& squares_of, std::span<double> norms) const {
  std::ranges::fill(norms, 0.0);
  for (std::size_t chunk = 0; chunk < rows_.chunks.size(); ++chunk) {
    norms[group_of_chunk_[chunk]] += squares_of(chunk);
  }
  for (double& norm : norms) norm = std::sqrt(norm);
}

}  // namespace cllm::train
