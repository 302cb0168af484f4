#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cllm/kernels/implementations.h"

/// What the tests of the kernels share: arrays that notice when they are left, and a comparison of
/// one table with another.
namespace cllm::kernels {

/// The unit roundoff of float: one operation has at most this relative error.
inline constexpr double kRoundoff = 0x1p-24;

/// The largest errors of the functions over all floats, in units in the last place of the
/// result; proved in math_test.cc.
inline constexpr double kExpUlps = 0.9;
inline constexpr double kLogUlps = 0.95;
inline constexpr double kTanhUlps = 2.65;

using Array = std::vector<float>;

/// One call of a kernel. `call` is given pointers to copies of `arrays`, and works on them in
/// place. Integers stand in an array as the floats that have their bits.
struct Operation {
  std::string name;
  std::vector<Array> arrays;
  /// How far an element may be from the reference, in the order of `arrays`. Empty for an array
  /// that must be left as it was or come out with the same bits from both implementations.
  std::vector<std::vector<double>> tolerances;
  std::function<void(const Kernels&, float* const*)> call;
};

/// A NaN with a payload of its own. It stands around every array and in the padding of rows, where
/// it must not be read (it would spoil the result) nor written.
float guard();
bool is_guard(float x);

/// The arrays after the call. Each lies in memory of its own between guards, its end `slack`
/// floats before a page that can't be touched, so that `slack` also sets its alignment. Fails where
/// a guard has changed.
::testing::AssertionResult run(const Kernels& kernels, const Operation& operation,
                               std::size_t slack, std::vector<Array>* results);

/// Whether `candidate` agrees with `reference` on the operation: within the tolerances, the same
/// infinities and NaNs, guards untouched, and the same bits whatever the alignment.
::testing::AssertionResult agree(const Kernels& reference, const Kernels& candidate,
                                 const Operation& operation);

/// Each implementation that this machine runs agrees with the reference, and those of fixed order
/// give the same bits.
void expect_implementations_agree(const Operation& operation);

/// n normal numbers with standard deviation `sigma`, from a seed.
Array normal_array(std::size_t n, double sigma, std::uint64_t seed);

/// A target for each row of logits, the last token among them.
std::vector<std::uint32_t> targets_for(std::size_t rows, std::size_t vocabulary);

/// Row lengths around every boundary of the vector loops, and some of a real model.
std::vector<std::size_t> lengths();

/// rows of `columns` elements each, with guards in the padding up to `ld`.
Array with_padding(const Array& dense, std::size_t rows, std::size_t columns, std::size_t ld);

}  // namespace cllm::kernels
