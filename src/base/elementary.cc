#include "cllm/base/elementary.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace cllm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// ln 2 and pi / 2 in parts, of which multiples by small integers are exact but for the last's.
constexpr double kLn2[] = {0x1.62e42feep-1, 0x1.a39ef35793c76p-33};
constexpr double kHalfPi[] = {0x1.921fb54p+0, 0x1.10b4611800000p-30, 0x1.313198a2e0370p-61};
constexpr double kPerLn2 = 0x1.71547652b82fep+0, kPerHalfPi = 0x1.45f306dc9c883p-1;

/// To the nearest integer, of |x| < 2^51.
double rounded(double x) {
  constexpr double kRounder = 0x1.8p52;
  return x + kRounder - kRounder;
}

/// x^first / first! - x^(first + 2) / (first + 2)! + … up to x^last, in which it is x^first times a
/// polynomial of x².
template <int kFirst, int kLast>
double alternating_series(double x) {
  const double square = x * x;
  double sum = 1;
  for (int n = kLast; n > kFirst; n -= 2) sum = 1 - sum * square / static_cast<double>(n * (n - 1));
  return sum;
}

struct Quarter {
  double rest;    ///< within pi / 4, and a little
  unsigned turn;  ///< quarters of a turn, modulo 4
};

Quarter quarter_of(double x) {
  const double n = rounded(x * kPerHalfPi);
  const double rest = ((x - n * kHalfPi[0]) - n * kHalfPi[1]) - n * kHalfPi[2];
  return {rest, static_cast<unsigned>(static_cast<std::int64_t>(n)) & 3};
}

double sine_near_zero(double x) { return x * alternating_series<1, 19>(x); }
double cosine_near_zero(double x) { return alternating_series<0, 20>(x); }

}  // namespace

double exponential(double x) {
  if (std::isnan(x)) return x;
  if (x > 709.8) return kInfinity;
  if (x < -745.2) return 0;
  const double n = rounded(x * kPerLn2);
  const double rest = (x - n * kLn2[0]) - n * kLn2[1];
  double sum = 1;
  for (int i = 14; i > 0; --i) sum = 1 + sum * rest / static_cast<double>(i);
  return std::ldexp(sum, static_cast<int>(n));
}

double logarithm(double x) {
  if (std::isnan(x) || x < 0) return kNan;
  if (x == 0) return -kInfinity;
  if (std::isinf(x)) return x;
  // x = 2^n (1 + f) with 1 + f from the root of 1/2 to that of 2.
  int n = 0;
  double part = std::frexp(x, &n);
  if (part < 0x1.6a09e667f3bcdp-1) {
    part *= 2;
    --n;
  }
  // log(1 + f) = 2 artanh(s) with s = f / (2 + f), |s| < 0.172.
  const double f = part - 1, s = f / (2 + f), square = s * s;
  double sum = 0;
  for (int i = 23; i > 1; i -= 2) sum = (sum + 1 / static_cast<double>(i)) * square;
  const auto octaves = static_cast<double>(n);
  // s is rounded, and f - s (2 + f) is what it lacks of f: 2s = f - s f.
  const double near = f - s * (f - 2 * sum);
  return octaves * kLn2[0] + (octaves * kLn2[1] + near);
}

double power(double x, double y) { return exponential(y * logarithm(x)); }

double sine(double x) {
  const auto [rest, turn] = quarter_of(x);
  const double value = turn % 2 == 0 ? sine_near_zero(rest) : cosine_near_zero(rest);
  return turn < 2 ? value : -value;
}

double cosine(double x) {
  const auto [rest, turn] = quarter_of(x);
  const double value = turn % 2 == 0 ? cosine_near_zero(rest) : sine_near_zero(rest);
  return turn == 0 || turn == 3 ? value : -value;
}

}  // namespace cllm
