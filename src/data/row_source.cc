#include "cllm/data/row_source.h"

#include <algorithm>

#include "cllm/base/error.h"
#include "cllm/kernels/kernels.h"

namespace cllm::data {

static_assert(kUncounted == kernels::kNoTarget);

namespace {

/// A row's tokens that are inputs: all but the last, or all of a row of one.
std::uint64_t inputs_of(const Row& row, std::size_t positions) {
  return std::min<std::uint64_t>(row.count, positions);
}

}  // namespace

void RowSource::read_inputs(const Row& row, std::size_t positions, std::uint32_t* inputs) const {
  const std::uint64_t some = inputs_of(row, positions);
  tokens.copy(row.first, some, inputs);
  std::fill(inputs + some, inputs + positions, 0u);
}

void RowSource::read(const Row& row, std::size_t positions, const RowView& out) const {
  read_inputs(row, positions, out.inputs);
  const std::uint64_t targets = row.count - 1;
  tokens.copy(row.first + 1, targets, out.targets);
  std::fill(out.targets + targets, out.targets + positions, kUncounted);
  if (!mask.empty()) {
    for (std::uint64_t i = 0; i < targets; ++i) {
      if (!mask[row.first + 1 + i]) out.targets[i] = kUncounted;
    }
  }
  if (out.begins == nullptr) return;
  const std::uint64_t some = inputs_of(row, positions);
  std::uint64_t document = documents.of_token(row.first), begin = 0;
  for (std::uint64_t i = 0; i < some; ++i) {
    while (document + 1 < documents.size() && documents.start(document + 1) <= row.first + i) {
      ++document;
      begin = i;
    }
    out.begins[i] = static_cast<std::uint32_t>(begin);
  }
  std::fill(out.begins + some, out.begins + positions, static_cast<std::uint32_t>(some));
}

std::uint64_t RowSource::counted(const Row& row) const {
  return mask.count(row.first + 1, row.first + row.count);
}

}  // namespace cllm::data
