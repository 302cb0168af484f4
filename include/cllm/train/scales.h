#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cllm::train {

/// How gradients are added up.
enum class Reduce {
  kExact,  ///< as integers: the same bits in any order, so for any ranks and threads
  kFp32,   ///< as floats: the same bits for the same ranks
};

/// Throws Error, naming --reduce, for an unknown name.
Reduce parse_reduce(std::string_view name);

/// Note [Exact sums]
///
/// Float sums depend on their order; integer sums don't. With Reduce::kExact each contribution to a
/// gradient (a unit's tile) is rounded once to integers, g -> round(g 2^e), and from there to the
/// optimizer only integers are added: between threads, between ranks, in any order. (The idea is
/// SwitchML's and IntSGD's: Sapio et al., NSDI 2021; Mishchenko et al., arXiv 2102.08374.)
///
/// The exponent e is one number for each tensor. It follows from the largest integer of the
/// tensor's last sum, which every rank knows, so that all ranks choose alike without a word. It is
/// for a whole tensor because single rows jump: a token that was absent for some batches has a
/// gradient thousands of times larger when it comes, where the largest of a table hardly moves.
///
/// A sum of n contributions can't wrap around while each is at most (2^31 - 1) / n. Whether that
/// holds is seen when a contribution is encoded and depends on it alone, so that every split of the
/// batch over ranks and threads finds the same. Where it doesn't hold, the step is taken again with
/// a smaller scale. Largest sums are kept 6 bits below that bound for contributions whose sum is
/// like a random walk's, √n times one of them: gradients may grow 64 times from a step to the next.
/// The first step, which has no history, is taken once more with the scales that it has found.
class GradientScales {
 public:
  /// `contributions`: the most that are added to one element in a step, over all ranks.
  explicit GradientScales(std::size_t contributions);

  /// The largest magnitude of an integer that a contribution may have.
  float limit() const { return limit_; }
  /// The bits that the largest sum of a tensor should have.
  int target_bits() const { return target_bits_; }

  /// Exponents to begin with, for so many tensors.
  static std::vector<std::int32_t> initial(std::size_t tensors);
  /// The next step's exponents, from the largest magnitudes of this step's sums. Down at once, up
  /// by one bit a step, so that one quiet batch doesn't lead to an overflow; `first`: all the way.
  /// A sum of zeros tells no size; the exponent goes up until there is one, but not so far that the
  /// first gradient after a long rest would need many tries.
  void adapt(std::span<const std::uint32_t> largest, bool first,
             std::span<std::int32_t> exponents) const;
  /// After an overflow of the tensors with `overflows[i] > 0`. False where no scale is small
  /// enough: the gradient is not finite.
  static bool lower(std::span<const std::int64_t> overflows, std::span<std::int32_t> exponents);

 private:
  float limit_;
  int target_bits_;
};

}  // namespace cllm::train
