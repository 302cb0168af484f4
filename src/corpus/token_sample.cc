#include "cllm/corpus/token_sample.h"

#include <cmath>

namespace cllm::corpus {
namespace {

/// Tokens of a stretch: long beside a window, so that few tokens lack neighbours, and short beside
/// a document's chapters, so that many of these are seen.
constexpr std::uint64_t kStretch = std::uint64_t{1} << 16;

/// Stretches of samples that are too small for long ones.
constexpr std::uint64_t kLeastStretches = 10;

}  // namespace

TokenSample::TokenSample(data::TokenView tokens, std::uint64_t most) : TokenSample(tokens) {
  if (most >= tokens.size()) return;
  length_ = std::clamp<std::uint64_t>(most / kLeastStretches, 1, kStretch);
  stretches_ = runs_.front().stretches = most / length_;
}

TokenSample::TokenSample(const std::vector<Source>& sources, std::uint64_t most) {
  if (sources.size() == 1) {
    *this = TokenSample(sources.front().tokens, most);
    return;
  }
  std::uint64_t all = 0, smallest = sources.front().tokens.size();
  for (const Source& source : sources) {
    all += source.tokens.size();
    smallest = std::min<std::uint64_t>(smallest, source.tokens.size());
  }
  most = std::min(most, all);
  length_ = std::min(std::clamp<std::uint64_t>(most / kLeastStretches, 1, kStretch), smallest);
  for (const Source& source : sources) {
    const double wanted = source.share * static_cast<double>(most) / static_cast<double>(length_);
    const auto count = std::clamp<std::size_t>(static_cast<std::size_t>(std::lround(wanted)), 1,
                                               source.tokens.size() / length_);
    runs_.push_back({source.tokens, stretches_, count});
    stretches_ += count;
  }
}

std::size_t TokenSample::corpus_size() const {
  std::size_t sum = 0;
  for (const Run& run : runs_) sum += run.tokens.size();
  return sum;
}

double TokenSample::share() const {
  return corpus_size() == 0 ? 1 : static_cast<double>(size()) / static_cast<double>(corpus_size());
}

}  // namespace cllm::corpus
