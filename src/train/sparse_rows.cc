#include "cllm/train/sparse_rows.h"

#include <algorithm>

#include "cllm/train/merge.h"

namespace cllm::train {
namespace {

/// Columns of a dense factor that are multiplied at a time. A row's part of them is four cache
/// lines, so that of the tokens that occur most it stays in a core's cache.
constexpr std::size_t kPanel = 64;

}  // namespace

void SparseBlock::end_row(std::size_t row) {
  const std::size_t begin = rows_.empty() ? 0 : rows_.back().end;
  if (begin < values_.size()) rows_.push_back({row, begin, values_.size()});
}

void SparseBlock::finish() {
  columns_.shrink_to_fit();
  values_.shrink_to_fit();
}

void SparseBlock::add_squares(std::span<double> squares) const {
  for (const Row& row : rows_) {
    for (std::size_t e = row.begin; e < row.end; ++e) {
      const auto value = static_cast<double>(values_[e]);
      squares[row.index] += value * value;
    }
  }
}

void SparseBlock::multiply(const kernels::Kernels& kernels, const float* x, float* y,
                           std::size_t ld, std::size_t first, std::size_t count) const {
  for (const Row& row : rows_) {
    kernels.sparse_row(columns_.data() + row.begin, values_.data() + row.begin, row.end - row.begin,
                       x + first, ld, y + row.index * ld + first, count);
  }
}

void multiply(Collective& collective, Crew& crew, const kernels::Kernels& kernels,
              const SparseRows& share, const Slab<float>& x, Slab<float>& y, std::size_t columns) {
  y.fill(0);
  const std::size_t panels = (columns + kPanel - 1) / kPanel;
  crew.deal(panels * share.size(), [&](std::size_t task, std::size_t) {
    const std::size_t first = task / share.size() * kPanel;
    share[task % share.size()].multiply(kernels, x.data(), y.data(), columns, first,
                                        std::min(kPanel, columns - first));
  });
  merge(collective, y.span());
}

}  // namespace cllm::train
