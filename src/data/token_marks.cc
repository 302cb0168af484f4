#include "cllm/data/token_marks.h"

#include <algorithm>
#include <bit>

namespace cllm::data {

Documents::Documents(std::span<const std::uint64_t> starts, std::uint64_t first,
                     std::uint64_t count)
    : first_(first), count_(count) {
  const auto begin = std::ranges::upper_bound(starts, first);
  const auto end = std::lower_bound(begin, starts.end(), first + count);
  starts_ = starts.subspan(static_cast<std::size_t>(begin - starts.begin()),
                           static_cast<std::size_t>(end - begin));
}

std::uint64_t Documents::start(std::uint64_t i) const {
  if (i == 0) return 0;
  if (i > starts_.size()) return count_;
  // Of starts that don't ascend, none leads out of the tokens.
  const std::uint64_t start = starts_[i - 1];
  return start < first_ ? 0 : std::min(start - first_, count_);
}

std::uint64_t Documents::of_token(std::uint64_t token) const {
  return static_cast<std::uint64_t>(std::ranges::upper_bound(starts_, first_ + token) -
                                    starts_.begin());
}

std::uint64_t TokenMask::count(std::uint64_t first, std::uint64_t end) const {
  if (words_.empty()) return end - first;
  std::uint64_t sum = 0;
  for (std::uint64_t i = first; i < end;) {
    const std::uint64_t at = first_ + i, bit = at % 64;
    const std::uint64_t some = std::min<std::uint64_t>(64 - bit, end - i);
    std::uint64_t word = words_[at / 64] >> bit;
    if (some < 64) word &= (std::uint64_t{1} << some) - 1;
    sum += static_cast<std::uint64_t>(std::popcount(word));
    i += some;
  }
  return sum;
}

void TokenMarks::begin_document() {
  if (documents.empty() || documents.back() != tokens) documents.push_back(tokens);
}

void TokenMarks::add(std::uint64_t count, std::uint64_t bytes, bool counts) {
  const bool has_mask = !counted.empty() || (!counts && count > 0);
  if (has_mask && counted.empty()) {  // all before did
    counted.assign((tokens + 63) / 64, ~std::uint64_t{0});
    if (tokens % 64 != 0) counted.back() = (std::uint64_t{1} << tokens % 64) - 1;
  }
  if (counts) counted_bytes += bytes;
  const std::uint64_t end = tokens + count;
  if (has_mask) counted.resize((end + 63) / 64);
  for (std::uint64_t i = tokens; counts && has_mask && i < end;) {
    const std::uint64_t some = std::min<std::uint64_t>(64 - i % 64, end - i);
    const std::uint64_t ones = some == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << some) - 1;
    counted[i / 64] |= ones << i % 64;
    i += some;
  }
  tokens = end;
}

}  // namespace cllm::data
