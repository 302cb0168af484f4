#include "cllm/corpus/token_sample.h"

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
  stretches_ = most / length_;
}

double TokenSample::share() const {
  return corpus_size() == 0 ? 1 : static_cast<double>(size()) / static_cast<double>(corpus_size());
}

}  // namespace cllm::corpus
