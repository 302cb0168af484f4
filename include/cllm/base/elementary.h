#pragma once

namespace cllm {

/// Note [Elementary functions]
///
/// The C library's exp, log, sin, cos and pow may round otherwise in its next version, and on
/// another processor, for which it has other code. What a training run computes with them (initial
/// weights, rates, angles of rotary positions, statistics of a corpus) would differ then. These are
/// the same additions, multiplications and divisions everywhere: the usual reductions of the
/// argument (Muller, "Elementary Functions", 3rd ed., chapter 11) and Taylor's series. Errors are
/// below 2 units in the last place, but of `power` below 2 + 2 |y log x|. Thread-safe.

/// 0 below -745, infinity above 709.8; NaN for NaN.
double exponential(double x);

/// -infinity for 0; NaN for what is below it, and for NaN.
double logarithm(double x);

/// x^y for x > 0.
double power(double x, double y);

/// For |x| <= 2^22; the error is below 2^-52 where the result is near 0.
double sine(double x);
double cosine(double x);

}  // namespace cllm
