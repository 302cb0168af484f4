#pragma once

#include <cstddef>
#include <cstdint>

namespace cllm::lattice {

/// Coordinates beyond this are refused by the decoders: there, float has no halves left.
inline constexpr float kMostCoordinate = 0x1p22f;

/// Nearest points of the densest lattice in 8 dimensions (Conway and Sloane, "Fast
/// quantizing and decoding algorithms for lattice quantizers and codes", IEEE Trans. Inf. Theory
/// 28(2), 1982), in one table: an AVX2 and a portable implementation with the same results, bit by
/// bit. D8 is the points of Z^8 whose sum is even; E8 is D8 together with D8 + (½, …, ½).
///
/// Points may have any number; arrays need no alignment and may not overlap. Nothing allocates or
/// throws. Thread-safe where outputs don't overlap. A function returns true where every |x| <=
/// kMostCoordinate; else, also for a NaN, false, and what the output holds is then unspecified.
///
/// Ties: coordinates round to the even integer; among equally bad ones, the first is moved, upwards
/// where it is already an integer; of two equally near points of E8 the one in D8 is taken.
/// Rounding errors can make a point nearest whose squared distance is above the least by at most
/// 2^-20.
struct Decoders {
  const char* name;  ///< "avx2" or "portable"

  /// x (count, 8) to doubled (count, 8): **twice** the coordinates of the nearest point of E8, so
  /// that all are integers. The eight are all even or all odd, and their sum is divisible by 4.
  bool (*e8)(const float* x, std::int32_t* doubled, std::size_t count);
};

/// The implementation that runs on any processor.
const Decoders& portable_decoders();
/// The AVX2 implementation. Throws Error where the processor or the build lacks it.
const Decoders& avx2_decoders();
/// The one that goes with kernels::select_kernels().
const Decoders& select_decoders();

}  // namespace cllm::lattice
