#pragma once

#include <cstdint>

namespace cllm::data {

/// Pseudo-random permutations of the numbers below `size`, one for each epoch: a Feistel network
/// over the next power of four with philox as its round function, and cycle walking (Black and
/// Rogaway: "Ciphers with Arbitrary Finite Domains", CT-RSA 2002). Immutable and thread-safe.
class Permutation {
 public:
  /// size >= 1.
  Permutation(std::uint64_t key, std::uint64_t size);
  /// Where `index` < size goes. O(1).
  std::uint64_t at(std::uint64_t epoch, std::uint64_t index) const;

 private:
  std::uint64_t key_;
  std::uint64_t size_;
  std::uint32_t half_bits_;  // the network permutes 2 * half_bits_ bits
};

/// A row of training or evaluation: `count` consecutive tokens of a part, T+1 at most.
struct Row {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// The order in which training reads the rows of a part. Immutable and thread-safe.
class RowOrder {
 public:
  virtual ~RowOrder() = default;
  /// The row of a sequence, by its number among the part's sequences over the whole run.
  virtual Row row(std::uint64_t sequence_index) const = 0;
  virtual std::uint64_t rows_per_epoch() const = 0;
  /// Whether every row has T+1 tokens.
  virtual bool has_whole_rows() const = 0;
  /// T.
  virtual std::uint64_t context() const = 0;
};

/// The order in which training reads windows of T+1 tokens: a pure function of the seed and of the
/// sequence index, step*G + i for sequence i of the global batch of G, and so the same for any
/// number of ranks. Nothing is stored and every call is O(1), so resuming needs no replay.
/// Immutable and thread-safe.
///
/// Note [Epochs]. The targets of N tokens are cut into W = max(1, floor(N/T) - 1) windows of T
/// targets that lie end to end (as windows of T+1 tokens they overlap by one). Where they begin is
/// drawn anew for each epoch, uniformly from the min(T, N - W*T) places where all of them fit, so
/// that window borders shift; W leaves room for any shift, and so is the same in every epoch, which
/// is what keeps the epoch of a sequence a division. What the shift leaves out at either end, less
/// than two windows in all, is left out of that epoch alone. An epoch reads each of its windows
/// once, in the order of a `Permutation`.
class WindowSampler final : public RowOrder {
 public:
  /// Throws Error unless 1 <= context and context + 1 <= tokens.
  WindowSampler(std::uint64_t seed, std::uint64_t tokens, std::uint64_t context);

  /// The first token of the window; start + T < tokens.
  std::uint64_t start(std::uint64_t sequence_index) const;
  std::uint64_t epoch_of(std::uint64_t sequence_index) const { return sequence_index / windows_; }
  /// W.
  std::uint64_t windows_per_epoch() const { return windows_; }

  Row row(std::uint64_t sequence_index) const override {
    return {start(sequence_index), context_ + 1};
  }
  std::uint64_t rows_per_epoch() const override { return windows_; }
  bool has_whole_rows() const override { return true; }
  std::uint64_t context() const override { return context_; }

 private:
  std::uint64_t key_;
  std::uint64_t context_;
  std::uint64_t windows_;
  std::uint64_t offsets_;  // number of places where an epoch's windows may begin
  Permutation permutation_;
};

/// The key of the random numbers of a run's order, of its seed.
std::uint64_t order_key(std::uint64_t seed);

/// One window of an evaluation: inputs are tokens [start, start + targets), targets the same range
/// one further.
struct EvaluationWindow {
  std::uint64_t start = 0;
  std::uint64_t targets = 0;  ///< T, or fewer in the last window of a text
};

/// The fixed windows that an evaluation reads: all of them, whose targets are every token but the
/// first, each once; or n of them, evenly spaced. Immutable and thread-safe.
class EvaluationWindows {
 public:
  /// `sequences` 0 means all, as does any number above that. Throws Error unless context >= 1 and
  /// tokens >= 2.
  EvaluationWindows(std::uint64_t tokens, std::uint64_t context, std::uint64_t sequences = 0);

  std::uint64_t size() const { return size_; }
  EvaluationWindow operator[](std::uint64_t i) const;
  /// The targets of all windows together.
  std::uint64_t targets() const;

 private:
  std::uint64_t tokens_;
  std::uint64_t context_;
  std::uint64_t all_;
  std::uint64_t size_;
};

}  // namespace cllm::data
