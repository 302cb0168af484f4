#include "cllm/data/sampler.h"

#include <algorithm>
#include <bit>

#include "cllm/base/error.h"
#include "cllm/base/random.h"

namespace cllm::data {
namespace {

// Keeps the sampler's random numbers apart from those that other parts draw from the same seed.
constexpr std::uint64_t kSamplerStream = 0x73616D706C657273;  // "samplers"

// Luby and Rackoff prove 4 rounds for large domains; small ones need more to look random.
constexpr std::uint32_t kRounds = 12;

/// W of Note [Epochs]. Throws Error where there is none.
std::uint64_t count_windows(std::uint64_t tokens, std::uint64_t context) {
  if (context < 1) fail("--context must be at least 1");
  if (tokens < context + 1) {
    fail(
        "the training data has {} tokens, but --context {} needs at least {}: give more data or a "
        "shorter context",
        tokens, context, context + 1);
  }
  return std::max<std::uint64_t>(1, (tokens - context) / context);
}

}  // namespace

std::uint64_t order_key(std::uint64_t seed) {
  return RandomStream(seed, kSamplerStream).next_u64();
}

Permutation::Permutation(std::uint64_t key, std::uint64_t size) : key_(key), size_(size) {
  const auto bits = static_cast<std::uint32_t>(std::bit_width(size - 1));
  half_bits_ = (bits + 1) / 2;
}

std::uint64_t Permutation::at(std::uint64_t epoch, std::uint64_t index) const {
  if (half_bits_ == 0) return index;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  // A permutation of 4^half_bits_ >= size values; walking its cycle until it comes back among the
  // first `size` is a permutation of these. At most every fourth value is one of them, so it takes
  // 4 steps or fewer on average.
  do {
    std::uint64_t left = index >> half_bits_, right = index & mask;
    for (std::uint32_t round = 1; round <= kRounds; ++round) {
      // `round` in the second word keeps these counters apart from the windows' offset's, which has
      // 0.
      const auto random =
          philox4x32({static_cast<std::uint32_t>(right), round, static_cast<std::uint32_t>(epoch),
                      static_cast<std::uint32_t>(epoch >> 32)},
                     {static_cast<std::uint32_t>(key_), static_cast<std::uint32_t>(key_ >> 32)});
      left ^= random[0] & mask;
      std::swap(left, right);
    }
    index = left << half_bits_ | right;
  } while (index >= size_);
  return index;
}

WindowSampler::WindowSampler(std::uint64_t seed, std::uint64_t tokens, std::uint64_t context)
    : key_(order_key(seed)),
      context_(context),
      windows_(count_windows(tokens, context)),
      offsets_(std::min(context, tokens - windows_ * context)),
      permutation_(key_, windows_) {}

std::uint64_t WindowSampler::start(std::uint64_t sequence_index) const {
  const std::uint64_t epoch = epoch_of(sequence_index);
  const std::uint64_t offset = RandomStream(key_, epoch).below(offsets_);
  return offset + permutation_.at(epoch, sequence_index % windows_) * context_;
}

EvaluationWindows::EvaluationWindows(std::uint64_t tokens, std::uint64_t context,
                                     std::uint64_t sequences)
    : tokens_(tokens), context_(context) {
  if (context < 1) fail("--context must be at least 1");
  if (tokens < 2) {
    fail("the validation data has {} tokens, but evaluation needs at least 2: give more data",
         tokens);
  }
  all_ = (tokens - 2) / context + 1;
  size_ = sequences == 0 ? all_ : std::min(sequences, all_);
}

EvaluationWindow EvaluationWindows::operator[](std::uint64_t i) const {
  // floor(i * all / size) without its overflow: all = q * size + r.
  const std::uint64_t window = i * (all_ / size_) + i * (all_ % size_) / size_;
  const std::uint64_t start = window * context_;
  return {start, std::min(context_, tokens_ - 1 - start)};
}

std::uint64_t EvaluationWindows::targets() const {
  // Only the last window of the text can be shorter, and a subset holds it only when it holds all.
  return size_ == all_ ? tokens_ - 1 : size_ * context_;
}

}  // namespace cllm::data
