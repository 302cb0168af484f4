#include "cllm/corpus/sparse_rows.h"

#include <algorithm>

#include "cllm/ranks/merge.h"

namespace cllm::corpus {
namespace {

/// Columns of a dense factor that are multiplied at a time. A row's part of them is four cache
/// lines, so that of the tokens that occur most it stays in a core's cache.
constexpr std::size_t kPanel = 64;

}  // namespace

void SparseBlock::end_row(std::size_t row) {
  const std::size_t begin = rows_.empty() ? 0 : rows_.back().end;
  if (begin < places()) rows_.push_back({row, begin, places()});
}

void SparseBlock::clear() {
  rows_.clear();
  columns_.clear();
  for (std::vector<float>& values : values_) values.clear();
}

std::size_t SparseBlock::nonzeros() const {
  return places() - static_cast<std::size_t>(std::ranges::count(values_[0], 0.0f));
}

void SparseBlock::add_squares(std::span<double> squares) const {
  for (const Row& row : rows_) {
    for (std::size_t e = row.begin; e < row.end; ++e) {
      const auto value = static_cast<double>(values_[0][e]);
      squares[row.index] += value * value;
    }
  }
}

void SparseBlock::multiply(const kernels::Kernels& kernels, Side side, const float* x, float* y,
                           std::size_t ld, std::size_t first, std::size_t count) const {
  const std::vector<float>& values = values_[side == Side::kMatrix ? 0 : 1];
  for (const Row& row : rows_) {
    kernels.sparse_row(columns_.data() + row.begin, values.data() + row.begin, row.end - row.begin,
                       x + first, ld, y + row.index * ld + first, count);
  }
}

void multiply(ranks::ProcessGroup& process_group, ThreadPool& pool, const kernels::Kernels& kernels,
              const SparseRows& share, Side side, const AlignedBuffer<float>& x,
              AlignedBuffer<float>& y, std::size_t columns) {
  y.fill(0);
  const std::size_t panels = (columns + kPanel - 1) / kPanel;
  pool.deal(panels * share.size(), [&](std::size_t task, std::size_t) {
    const std::size_t first = task / share.size() * kPanel;
    share[task % share.size()].multiply(kernels, side, x.data(), y.data(), columns, first,
                                        std::min(kPanel, columns - first));
  });
  merge(process_group, y.span());
}

}  // namespace cllm::corpus
