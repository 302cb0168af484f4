#include "cllm/corpus/signatures.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <unordered_map>

#include "cllm/base/elementary.h"
#include "cllm/base/utf8.h"

namespace cllm::corpus {
namespace {

/// Of logarithms: fine enough for log 2, and coarse enough for the sum of a token of
/// kMostCharacters, with log p below 24.
constexpr double kUnits = 0x1p16;
static_assert((kLongestGram - kShortestGram + 1) * (kMostCharacters + 2) * 24 * kUnits < 0x1p31);

/// Calls visit(gram) for each n-gram of a token: its bytes, behind a byte that says whether it
/// begins (1) and ends (2) with a mark.
template <typename Visit>
void for_each_gram(std::string_view token, const Visit& visit) {
  std::vector<std::size_t> ends = {0, 0};  // of the mark, of each character, and of the last mark
  for (std::size_t end = 0; end < token.size() && ends.size() < kMostCharacters + 2;) {
    end += std::max<std::size_t>(1, utf8_length(token.substr(end)));
    ends.push_back(end);
  }
  if (ends.size() == 2) return;
  const std::size_t characters = ends.size();  // and marks
  ends.push_back(ends.back());
  std::string gram;
  for (std::size_t first = 0; first < characters; ++first) {
    for (std::size_t n = kShortestGram; n <= kLongestGram && first + n <= characters; ++n) {
      const std::size_t begin = ends[first], end = ends[first + n];
      gram.assign(1, static_cast<char>((first == 0 ? 1 : 0) | (first + n == characters ? 2 : 0)));
      gram += token.substr(begin, end - begin);
      visit(gram);
    }
  }
}

std::vector<std::string_view> bytes_of_all(const data::Tokenizer& tokenizer) {
  std::vector<std::string_view> tokens(tokenizer.vocabulary());
  for (std::uint32_t t = 0; t < tokens.size(); ++t) tokens[t] = tokenizer.token_bytes(t);
  return tokens;
}

/// First the more similar, ties by number.
bool comes_before(const Relative& a, const Relative& b) {
  return a.similarity != b.similarity ? a.similarity > b.similarity : a.token < b.token;
}

}  // namespace

std::vector<std::uint32_t> first_primes(std::size_t count) {
  // The n-th prime is below n (ln n + ln ln n) for n >= 6 (Rosser and Schoenfeld, 1962, 3.13).
  const double n = static_cast<double>(std::max<std::size_t>(count, 6));
  const auto limit = static_cast<std::size_t>(n * (std::log(n) + std::log(std::log(n)))) + 1;
  std::vector<bool> is_composite(limit + 1);
  std::vector<std::uint32_t> primes;
  primes.reserve(count);
  for (std::size_t p = 2; primes.size() < count; ++p) {
    if (is_composite[p]) continue;
    primes.push_back(static_cast<std::uint32_t>(p));
    for (std::size_t multiple = p * p; multiple <= limit; multiple += p) {
      is_composite[multiple] = true;
    }
  }
  return primes;
}

Signatures::Signatures(const data::Tokenizer& tokenizer, const kernels::Kernels& kernels)
    : Signatures(bytes_of_all(tokenizer), kernels) {}

Signatures::Signatures(std::span<const std::string_view> tokens, const kernels::Kernels& kernels)
    : kernels_(&kernels) {
  // First with features numbered as they are met.
  struct Feature {
    std::string gram;
    std::uint32_t number;
    std::uint32_t tokens;  // that have it
  };
  std::unordered_map<std::string, std::uint32_t> number_of;
  std::vector<Feature> by_rank;
  begins_.push_back(0);
  for (const std::string_view token : tokens) {
    const auto begin = static_cast<std::ptrdiff_t>(ranks_.size());
    for_each_gram(token, [&](const std::string& gram) {
      const auto next = static_cast<std::uint32_t>(by_rank.size());
      const auto [place, is_new] = number_of.emplace(gram, next);
      if (is_new) by_rank.push_back({gram, next, 0});
      ranks_.push_back(place->second);
    });
    std::sort(ranks_.begin() + begin, ranks_.end());
    ranks_.erase(std::unique(ranks_.begin() + begin, ranks_.end()), ranks_.end());
    for (auto each = ranks_.begin() + begin; each != ranks_.end(); ++each) ++by_rank[*each].tokens;
    begins_.push_back(ranks_.size());
  }
  features_ = by_rank.size();
  std::ranges::sort(by_rank, [](const Feature& a, const Feature& b) {
    return a.tokens != b.tokens ? a.tokens > b.tokens : a.gram < b.gram;
  });
  std::vector<std::uint32_t> rank_of(features_), weight_of(features_);
  const std::vector<std::uint32_t> primes = first_primes(features_);
  for (std::uint32_t rank = 0; rank < features_; ++rank) {
    rank_of[by_rank[rank].number] = rank;
    weight_of[rank] = static_cast<std::uint32_t>(std::lround(kUnits * logarithm(primes[rank])));
  }
  for (std::uint32_t& rank : ranks_) rank = rank_of[rank];
  weights_.resize(ranks_.size());
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto begin = static_cast<std::ptrdiff_t>(begins_[t]);
    const auto end = static_cast<std::ptrdiff_t>(begins_[t + 1]);
    std::sort(ranks_.begin() + begin, ranks_.begin() + end);
    std::transform(ranks_.begin() + begin, ranks_.begin() + end, weights_.begin() + begin,
                   [&](std::uint32_t rank) { return weight_of[rank]; });
    totals_.push_back(
        std::accumulate(weights_.begin() + begin, weights_.begin() + end, std::uint32_t{0}));
  }
}

float Signatures::similarity(std::uint32_t a, std::uint32_t b) const {
  const std::span<const std::uint32_t> left = ranks(a), right = ranks(b);
  return similarity(a, b,
                    kernels_->shared_weight(left.data(), weights(a).data(), left.size(),
                                            right.data(), right.size()));
}

float Signatures::similarity(std::uint32_t a, std::uint32_t b, std::uint32_t shared) const {
  if (shared == 0) return 0;
  return static_cast<float>(shared) / static_cast<float>(std::max(totals_[a], totals_[b]));
}

RelativeIndex::RelativeIndex(const Signatures& signatures, std::span<const std::uint8_t> is_listed)
    : signatures_(&signatures), begins_(signatures.features() + 1) {
  const auto for_each_feature = [&](const auto& visit) {
    for (std::uint32_t t = 0; t < signatures.size(); ++t) {
      if (!is_listed.empty() && is_listed[t] == 0) continue;
      for (const std::uint32_t rank : signatures.ranks(t)) visit(t, rank);
    }
  };
  for_each_feature([&](std::uint32_t, std::uint32_t rank) { ++begins_[rank + 1]; });
  std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
  tokens_.resize(begins_.back());
  std::vector<std::size_t> next(begins_.begin(), begins_.end() - 1);
  for_each_feature([&](std::uint32_t t, std::uint32_t rank) { tokens_[next[rank]++] = t; });
}

std::span<const Relative> RelativeIndex::relatives(std::uint32_t token, std::size_t most,
                                                   Scratch& scratch) const {
  std::vector<Relative>& found = scratch.found_;
  found.clear();
  const std::span<const std::uint32_t> ranks = signatures_->ranks(token);
  const std::span<const std::uint32_t> weights = signatures_->weights(token);
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    for (std::size_t k = begins_[ranks[i]]; k < begins_[ranks[i] + 1]; ++k) {
      std::uint32_t& shared = scratch.shared_[tokens_[k]];
      if (shared == 0) found.push_back({tokens_[k], 0});
      shared += weights[i];
    }
  }
  for (Relative& each : found) {
    each.similarity = signatures_->similarity(token, each.token, scratch.shared_[each.token]);
    scratch.shared_[each.token] = 0;
  }
  std::erase_if(found, [&](const Relative& each) { return each.token == token; });
  const std::size_t count = std::min(most, found.size());
  const auto end = found.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(found.begin(), end, found.end(), comes_before);
  return std::span(found).first(count);
}

}  // namespace cllm::corpus
