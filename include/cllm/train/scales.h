#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "cllm/model/gradient.h"

namespace cllm::train {

/// How gradients are added up.
enum class Reduce {
  kExact,  ///< as integers: the same bits in any order, so for any ranks and threads
  kFp32,   ///< as floats: the same bits for the same ranks
};

/// Note [Exact sums]
///
/// Float sums depend on their order; integer sums don't. With Reduce::kExact each contribution to a
/// gradient (a micro-batch's tile) is rounded once to integers, g -> round(g 2^e), and from there
/// to the optimizer only integers are added: between threads, between ranks, in any order. (The
/// idea is SwitchML's and IntSGD's: Sapio et al., NSDI 2021; Mishchenko et al., arXiv 2102.08374.)
///
/// The exponent e is one number for each row of a tile. It follows from the sizes that the row's
/// sums had, which every rank knows, so that all ranks choose alike without a word. A sum of n
/// contributions is off by the square root of n roundings, and so is a float sum whose terms have
/// no order; a row whose root mean square is 2^24 units is as exact as floats are, whatever n is.
///
/// Rows jump: that of a token which was absent for some batches is millions of times larger when
/// the token comes. So the exponent fits the smallest of a row's recent sums: it goes up at once,
/// down by one bit in eight steps. What is larger has bits to spare (Note [Wide sums]), and costs
/// only more words. An exponent stays so near to that of its tensor's largest row that any row may
/// become a good deal larger than that one. Only where contributions to a tile come to 2^60 all the
/// same, which all ranks learn with the loss, is the step taken again, with exponents of the tile
/// that are smaller. That depends on the contributions alone: every split of a batch over ranks and
/// threads does the same.
///
/// The first step, which has no history, is taken twice, the first time for the sizes alone.

/// What is known of a row that was all zeros: it has no size.
inline constexpr int kNoSize = std::numeric_limits<int>::min();

/// The bits of a row's root mean square, from the sum of the squares of its `size` integers:
/// 2^(bits-1) <= root mean square < 2^bits. kNoSize for 0.
int bits_of_row(double squares, std::size_t size);

/// Exponents to begin with, of so many rows.
std::vector<std::int32_t> initial_exponents(std::size_t rows);

/// How far exponents go down.
enum class Down {
  kAllTheWay,  ///< where there is no history
  kByOne,
  kNotNow,
};
/// After step number `step`.
Down down_after(std::uint64_t step);

/// The next step's exponents, from the bits of this step's sums; both are of the rows of the
/// tiling.
void adapt_exponents(const model::Tiling& tiling, std::span<const int> bits, Down down,
                     std::span<std::int32_t> exponents);

/// Makes the exponents of a tile smaller, whose contributions were too large. False where they are
/// as small as can be: then the gradient is not finite.
bool lower_exponents(const model::Tile& tile, std::span<std::int32_t> exponents);

}  // namespace cllm::train
