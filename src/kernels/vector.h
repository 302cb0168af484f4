#pragma once

#include <cstddef>
#include <cstdint>

// The widest registers of the processor that the file is compiled for.
#if defined(__AVX512F__)
#include "registers_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "registers_avx2.h"
#else
#include "registers_portable.h"
#endif

/// Rows of floats, eight times kCount at a time, for registers of any width. Whatever it is, every
/// element and every sum gets the same bits: a sum along a row has as many running sums everywhere,
/// and nothing is fused but what says so. An unnamed namespace in a header, on purpose: see Note
/// [Files of an implementation] in tables.h.
namespace cllm::kernels {
namespace {

#if defined(__AVX512F__)
using Doubles = EightDoubles;
#else
using Doubles = FourDoubles;
#endif

/// What a pack is made of that has an even number of eights, or an odd one.
template <bool kIsEven>
struct RegistersOf {
  using Type = Eight;
};
#if defined(__AVX512F__)
template <>
struct RegistersOf<true> {
  using Type = Sixteen;
};
#endif

constexpr std::size_t kLanes = 8;

template <std::size_t kCount>
struct Pack;
using Vector = Pack<1>;

/// What a comparison of packs says of each element.
template <std::size_t kCount>
struct Mask {
  using Register = typename RegistersOf<kCount % 2 == 0>::Type;
  typename Register::Mask m[kCount * kLanes / Register::kFloats];
};

/// kCount times eight elements that go through the same operations side by side. A function like
/// exp is one long chain of dependent operations, and a processor that works on one register at a
/// time waits; four chains, interleaved operation by operation, keep it busy. A Pack must live in
/// registers: its loops are unrolled and kernels are declared [[gnu::flatten]], so that nothing in
/// them is a call.
template <std::size_t kCount>
struct Pack {
  using Register = typename RegistersOf<kCount % 2 == 0>::Type;
  static constexpr std::size_t kRegisters = kCount * kLanes / Register::kFloats;

  typename Register::Value v[kRegisters];

  Pack() = default;

  /// Every element `value`.
  Pack(float value) {
#pragma GCC unroll 8
    for (auto& each : v) each = Register::broadcast(value);
  }

  /// Eight of the elements.
  Vector one(std::size_t k) const {
    constexpr std::size_t kEights = Register::kFloats / kLanes;
    return Vector::map([&](std::size_t) { return Register::eight(v[k / kEights], k % kEights); });
  }

  template <typename Operation>
  static Pack map(const Operation& operation) {
    Pack result;
#pragma GCC unroll 8
    for (std::size_t k = 0; k < kRegisters; ++k) result.v[k] = operation(k);
    return result;
  }
  template <typename Test>
  static Mask<kCount> test(const Test& test_one) {
    Mask<kCount> result;
#pragma GCC unroll 8
    for (std::size_t k = 0; k < kRegisters; ++k) result.m[k] = test_one(k);
    return result;
  }

  friend Pack operator+(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::add(a.v[k], b.v[k]); });
  }
  friend Pack operator-(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::subtract(a.v[k], b.v[k]); });
  }
  friend Pack operator*(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::multiply(a.v[k], b.v[k]); });
  }
  friend Pack operator/(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::divide(a.v[k], b.v[k]); });
  }
  /// a b + c, rounded once.
  friend Pack fma(const Pack& a, const Pack& b, const Pack& c) {
    return map([&](std::size_t k) { return Register::fma(a.v[k], b.v[k], c.v[k]); });
  }
  /// c - a b, rounded once.
  friend Pack subtract_product(const Pack& a, const Pack& b, const Pack& c) {
    return map([&](std::size_t k) { return Register::subtract_product(a.v[k], b.v[k], c.v[k]); });
  }
  friend Pack sqrt(const Pack& a) {
    return map([&](std::size_t k) { return Register::root(a.v[k]); });
  }
  /// The second operand where either is NaN; so is `max`.
  friend Pack min(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::min(a.v[k], b.v[k]); });
  }
  friend Pack max(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::max(a.v[k], b.v[k]); });
  }

  friend Mask<kCount> operator<(const Pack& a, const Pack& b) {
    return test([&](std::size_t k) { return Register::less(a.v[k], b.v[k]); });
  }
  /// True for NaN.
  friend Mask<kCount> not_less(const Pack& a, const Pack& b) {
    return test([&](std::size_t k) { return Register::not_less(a.v[k], b.v[k]); });
  }
  friend Mask<kCount> operator==(const Pack& a, const Pack& b) {
    return test([&](std::size_t k) { return Register::equal(a.v[k], b.v[k]); });
  }
  friend Pack select(const Mask<kCount>& mask, const Pack& yes, const Pack& no) {
    return map([&](std::size_t k) { return Register::select(mask.m[k], yes.v[k], no.v[k]); });
  }
  /// a where the mask says so, else 0.
  friend Pack where(const Mask<kCount>& mask, const Pack& a) {
    return map([&](std::size_t k) { return Register::where(mask.m[k], a.v[k]); });
  }

  friend Pack operator&(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::bit_and(a.v[k], b.v[k]); });
  }
  friend Pack operator|(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::bit_or(a.v[k], b.v[k]); });
  }
  /// The bits of b that are not in a.
  friend Pack and_not(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::and_not(a.v[k], b.v[k]); });
  }

  // The elements' bits, taken as 32-bit integers.
  friend Pack add_bits(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::add_bits(a.v[k], b.v[k]); });
  }
  friend Pack subtract_bits(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::subtract_bits(a.v[k], b.v[k]); });
  }
  friend Pack shift_bits_left(const Pack& a, int bits) {
    return map([&](std::size_t k) { return Register::shift_left(a.v[k], bits); });
  }
  /// The sign is kept.
  friend Pack shift_bits_right(const Pack& a, int bits) {
    return map([&](std::size_t k) { return Register::shift_right(a.v[k], bits); });
  }
  /// The larger of two without signs.
  friend Pack largest_bits(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return Register::largest_bits(a.v[k], b.v[k]); });
  }
  /// Of -2^31, that number without a sign.
  friend Pack absolute_bits(const Pack& a) {
    return map([&](std::size_t k) { return Register::absolute_bits(a.v[k]); });
  }
  friend Pack bits_to_float(const Pack& a) {
    return map([&](std::size_t k) { return Register::bits_to_float(a.v[k]); });
  }
  /// To the nearest, and to the even one of two; -2^31 for what has no such integer.
  friend Pack round_to_bits(const Pack& a) {
    return map([&](std::size_t k) { return Register::round_to_bits(a.v[k]); });
  }
};

/// 8 kCount elements of a row. `Whole` and `Part` have the same members, so that the body of a loop
/// is written once and gives every element the same bits, wherever in its row it stands. Integers
/// are loaded and stored as the bits of a Value's elements.
template <std::size_t kCount>
struct Whole {
  using Value = Pack<kCount>;
  using Register = typename Value::Register;

  template <typename Element>
  Value load(const Element* from) const {
    return Value::map([=](std::size_t k) { return Register::load(from + k * Register::kFloats); });
  }
  template <typename Element>
  void store(Element* to, const Value& value) const {
#pragma GCC unroll 8
    for (std::size_t k = 0; k < Value::kRegisters; ++k) {
      Register::store(to + k * Register::kFloats, value.v[k]);
    }
  }
  /// `value` where there are elements, `other` in lanes past the end of the row.
  Value keep(const Value& value, const Value&) const { return value; }
};

/// The 1 to 7 elements at the end of a row. Loads give 0 in the other lanes.
class Part {
 public:
  using Value = Vector;

  explicit Part(std::size_t count) : some_(count) {}

  template <typename Element>
  Value load(const Element* from) const {
    return Value::map([=, this](std::size_t) { return some_.load(from); });
  }
  template <typename Element>
  void store(Element* to, const Value& value) const {
    some_.store(to, value.v[0]);
  }
  Value keep(const Value& value, const Value& other) const {
    return Value::map([&](std::size_t) { return some_.keep(value.v[0], other.v[0]); });
  }

 private:
  Some some_;
};

/// Walks along a row of n: body(i, part) with part = Whole<kCount>, then Whole<1>, then Part.
template <std::size_t kCount, typename Body>
inline void for_each_pack(std::size_t n, const Body& body) {
  std::size_t i = 0;
  if constexpr (kCount > 1) {
    for (; i + kCount * kLanes <= n; i += kCount * kLanes) {
      body(i, Whole<kCount>());
    }
  }
  for (; i + kLanes <= n; i += kLanes) {
    body(i, Whole<1>());
  }
  if (i < n) {
    body(i, Part(n - i));
  }
}

/// Calls work(k, eight) for the registers of eight floats of a pack, whatever it is made of.
template <std::size_t kCount, typename Work>
inline void for_each_eight(const Pack<kCount>& x, const Work& work) {
#pragma GCC unroll 8
  for (std::size_t k = 0; k < kCount; ++k) work(k, x.one(k).v[0]);
}

/// Asks for what lies `ahead` bytes behind an address that is being walked along. Processors find
/// streams themselves, but stop at the end of each 4 KiB page (with this the optimizer's walk over
/// arrays larger than the caches takes 0.87 of the time, that of a norm 0.65). May point anywhere.
inline void prefetch(const void* walked, std::size_t ahead) {
  __builtin_prefetch(static_cast<const char*>(walked) + ahead);
}

/// Bytes of one stream, and of several beside a computation.
constexpr std::size_t kFarAhead = 2048;
constexpr std::size_t kNearAhead = 1024;

inline float horizontal_sum(const Vector& x) { return Eight::sum(x.v[0]); }
inline float horizontal_max(const Vector& x) { return Eight::top(x.v[0]); }
inline float first_of(const Vector& x) { return Eight::first(x.v[0]); }

inline float reciprocal_root(float x) { return 1 / __builtin_sqrtf(x); }

/// The sum of term(i, part) over a row of n, in 32 running sums whose order depends on n alone. A
/// term may also store what it computed. Lanes past the end must be 0: `keep` makes them so.
template <typename Term>
inline float row_sum(std::size_t n, const Term& term) {
  Pack<4> sums = 0;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    sums = sums + term(i, Whole<4>());
  }
  Vector first = sums.one(0);
  for (; i + kLanes <= n; i += kLanes) {
    first = first + term(i, Whole<1>());
  }
  if (i < n) {
    first = first + term(i, Part(n - i));
  }
  return horizontal_sum((first + sums.one(1)) + (sums.one(2) + sums.one(3)));
}

/// The largest term(i, part) of a row of n, -inf for n = 0. It may pass over a NaN. A term may also
/// store what it computed.
template <typename Term>
inline float row_max(std::size_t n, const Term& term) {
  constexpr float kLowest = -__builtin_inff();
  Pack<4> tops = kLowest;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    tops = max(tops, term(i, Whole<4>()));
  }
  Vector top = max(max(tops.one(0), tops.one(1)), max(tops.one(2), tops.one(3)));
  for (; i + kLanes <= n; i += kLanes) {
    top = max(top, term(i, Whole<1>()));
  }
  if (i < n) {
    const Part part(n - i);
    top = max(top, part.keep(term(i, part), kLowest));
  }
  return horizontal_max(top);
}

inline float row_max(const float* x, std::size_t n) {
  return row_max(n, [=](std::size_t i, auto part) { return part.load(x + i); });
}

}  // namespace
}  // namespace cllm::kernels
