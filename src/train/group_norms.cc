#include "cllm/train/group_norms.h"

#include <cmath>

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
                       const kernels::Kernels& kernels)
    : kernels_(kernels), changes_(rows.chunks.size()) {
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
  add_up(gradient, gradient_);
  add_up(changes_, update_);
}

void GroupNorms::add_up(std::span<const double> squares, std::span<double> norms) const {
  std::ranges::fill(norms, 0.0);
  for (std::size_t chunk = 0; chunk < squares.size(); ++chunk) {
    norms[group_of_chunk_[chunk]] += squares[chunk];
  }
  for (double& norm : norms) norm = std::sqrt(norm);
}

}  // namespace cllm::train
