#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

/// Rows of floats, eight times kCount at a time. An unnamed namespace in a header, on purpose: see
/// Note [AVX2 files] in avx2.h.
namespace cllm::kernels {
namespace {

constexpr std::size_t kLanes = 8;

/// kCount vectors that go through the same operations side by side. A function like exp is one long
/// chain of dependent operations, and a processor that works on one vector at a time waits; four
/// chains, interleaved operation by operation, keep it busy. A Pack must live in registers: its
/// loops are unrolled and kernels are declared [[gnu::flatten]], so that nothing in them is a call.
template <std::size_t kCount>
struct Pack {
  __m256 v[kCount];

  Pack() = default;

  /// Every element `value`.
  Pack(float value) {
#pragma GCC unroll 8
    for (__m256& each : v) each = _mm256_set1_ps(value);
  }

  Pack<1> one(std::size_t k) const {
    return Pack<1>::map([&](std::size_t) { return v[k]; });
  }

  template <typename Operation>
  static Pack map(const Operation& operation) {
    Pack result;
#pragma GCC unroll 8
    for (std::size_t k = 0; k < kCount; ++k) result.v[k] = operation(k);
    return result;
  }

  friend Pack operator+(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_add_ps(a.v[k], b.v[k]); });
  }
  friend Pack operator-(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_sub_ps(a.v[k], b.v[k]); });
  }
  friend Pack operator*(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_mul_ps(a.v[k], b.v[k]); });
  }
  friend Pack operator/(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_div_ps(a.v[k], b.v[k]); });
  }
  /// a b + c, rounded once.
  friend Pack fma(const Pack& a, const Pack& b, const Pack& c) {
    return map([&](std::size_t k) { return _mm256_fmadd_ps(a.v[k], b.v[k], c.v[k]); });
  }
  /// c - a b, rounded once.
  friend Pack subtract_product(const Pack& a, const Pack& b, const Pack& c) {
    return map([&](std::size_t k) { return _mm256_fnmadd_ps(a.v[k], b.v[k], c.v[k]); });
  }
  friend Pack sqrt(const Pack& a) {
    return map([&](std::size_t k) { return _mm256_sqrt_ps(a.v[k]); });
  }
  /// The second operand where either is NaN; so is `max`.
  friend Pack min(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_min_ps(a.v[k], b.v[k]); });
  }
  friend Pack max(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_max_ps(a.v[k], b.v[k]); });
  }

  // Masks: all bits of an element, or none.
  friend Pack operator<(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_cmp_ps(a.v[k], b.v[k], _CMP_LT_OQ); });
  }
  /// True for NaN.
  friend Pack not_less(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_cmp_ps(a.v[k], b.v[k], _CMP_NLT_UQ); });
  }
  friend Pack operator==(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_cmp_ps(a.v[k], b.v[k], _CMP_EQ_OQ); });
  }
  friend Pack select(const Pack& mask, const Pack& yes, const Pack& no) {
    return map([&](std::size_t k) { return _mm256_blendv_ps(no.v[k], yes.v[k], mask.v[k]); });
  }
  friend Pack operator&(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_and_ps(a.v[k], b.v[k]); });
  }
  friend Pack operator|(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_or_ps(a.v[k], b.v[k]); });
  }
  /// The bits of b that are not in a.
  friend Pack and_not(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) { return _mm256_andnot_ps(a.v[k], b.v[k]); });
  }

  // The elements' bits, taken as 32-bit integers.
  friend Pack add_bits(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) {
      return _mm256_castsi256_ps(
          _mm256_add_epi32(_mm256_castps_si256(a.v[k]), _mm256_castps_si256(b.v[k])));
    });
  }
  friend Pack subtract_bits(const Pack& a, const Pack& b) {
    return map([&](std::size_t k) {
      return _mm256_castsi256_ps(
          _mm256_sub_epi32(_mm256_castps_si256(a.v[k]), _mm256_castps_si256(b.v[k])));
    });
  }
  friend Pack shift_bits_left(const Pack& a, int bits) {
    return map([&](std::size_t k) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v[k]), bits));
    });
  }
  /// The sign is kept.
  friend Pack shift_bits_right(const Pack& a, int bits) {
    return map([&](std::size_t k) {
      return _mm256_castsi256_ps(_mm256_srai_epi32(_mm256_castps_si256(a.v[k]), bits));
    });
  }
  friend Pack bits_to_float(const Pack& a) {
    return map([&](std::size_t k) { return _mm256_cvtepi32_ps(_mm256_castps_si256(a.v[k])); });
  }
  /// To the nearest, and to the even one of two; -2^31 for what has no such integer.
  friend Pack round_to_bits(const Pack& a) {
    return map([&](std::size_t k) { return _mm256_castsi256_ps(_mm256_cvtps_epi32(a.v[k])); });
  }
};

using Vector = Pack<1>;

/// 8 kCount elements of a row. `Whole` and `Part` have the same members, so that the body of a loop
/// is written once and gives every element the same bits, wherever in its row it stands. Integers
/// are loaded and stored as the bits of a Value's elements.
template <std::size_t kCount>
struct Whole {
  using Value = Pack<kCount>;

  Value load(const float* from) const {
    return Value::map([=](std::size_t k) { return _mm256_loadu_ps(from + k * kLanes); });
  }
  void store(float* to, const Value& value) const {
#pragma GCC unroll 8
    for (std::size_t k = 0; k < kCount; ++k) {
      _mm256_storeu_ps(to + k * kLanes, value.v[k]);
    }
  }
  Value load(const std::int32_t* from) const {
    return Value::map([=](std::size_t k) {
      return _mm256_castsi256_ps(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + k * kLanes)));
    });
  }
  void store(std::int32_t* to, const Value& value) const {
#pragma GCC unroll 8
    for (std::size_t k = 0; k < kCount; ++k) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k * kLanes),
                          _mm256_castps_si256(value.v[k]));
    }
  }
  /// `value` where there are elements, `other` in lanes past the end of the row.
  Value keep(const Value& value, const Value&) const { return value; }
};

/// The 1 to 7 elements at the end of a row. Loads give 0 in the other lanes.
class Part {
 public:
  using Value = Vector;

  explicit Part(std::size_t count)
      : count_(count),
        mask_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + kLanes - count))) {}

  Value load(const float* from) const {
    return Value::map([=, this](std::size_t) { return _mm256_maskload_ps(from, mask_); });
  }
  Value load(const std::int32_t* from) const {
    return Value::map(
        [=, this](std::size_t) { return _mm256_castsi256_ps(_mm256_maskload_epi32(from, mask_)); });
  }

  /// In pieces, because a masked store takes ten times as long on some processors.
  void store(float* to, const Value& value) const {
    __m128 rest = _mm256_castps256_ps128(value.v[0]);
    if (count_ & 4) {
      _mm_storeu_ps(to, rest);
      to += 4;
      rest = _mm256_extractf128_ps(value.v[0], 1);
    }
    if (count_ & 2) {
      _mm_storel_pi(reinterpret_cast<__m64*>(to), rest);
      to += 2;
      rest = _mm_movehl_ps(rest, rest);
    }
    if (count_ & 1) {
      _mm_store_ss(to, rest);
    }
  }
  void store(std::int32_t* to, const Value& value) const {
    const __m256i bits = _mm256_castps_si256(value.v[0]);
    __m128i rest = _mm256_castsi256_si128(bits);
    if (count_ & 4) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), rest);
      to += 4;
      rest = _mm256_extracti128_si256(bits, 1);
    }
    if (count_ & 2) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to), rest);
      to += 2;
      rest = _mm_unpackhi_epi64(rest, rest);
    }
    if (count_ & 1) {
      *to = _mm_cvtsi128_si32(rest);
    }
  }

  Value keep(const Value& value, const Value& other) const {
    return Value::map([&](std::size_t k) {
      return _mm256_blendv_ps(other.v[k], value.v[k], _mm256_castsi256_ps(mask_));
    });
  }

 private:
  static constexpr std::int32_t kMasks[2 * kLanes] = {-1, -1, -1, -1, -1, -1, -1, -1};

  std::size_t count_;
  __m256i mask_;
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

/// Asks for what lies `ahead` bytes behind an address that is being walked along. Processors find
/// streams themselves, but stop at the end of each 4 KiB page (with this the optimizer's walk over
/// arrays larger than the caches takes 0.87 of the time, that of a norm 0.65). May point anywhere.
inline void prefetch(const void* walked, std::size_t ahead) {
  _mm_prefetch(static_cast<const char*>(walked) + ahead, _MM_HINT_T0);
}

/// Bytes of one stream, and of several beside a computation.
constexpr std::size_t kFarAhead = 2048;
constexpr std::size_t kNearAhead = 1024;

inline float horizontal_sum(const Vector& x) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x.v[0]), _mm256_extractf128_ps(x.v[0], 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

inline float horizontal_max(const Vector& x) {
  __m128 max = _mm_max_ps(_mm256_castps256_ps128(x.v[0]), _mm256_extractf128_ps(x.v[0], 1));
  max = _mm_max_ps(max, _mm_movehl_ps(max, max));
  return _mm_cvtss_f32(_mm_max_ss(max, _mm_movehdup_ps(max)));
}

inline float first_of(const Vector& x) { return _mm256_cvtss_f32(x.v[0]); }

inline float reciprocal_root(float x) {
  return _mm_cvtss_f32(_mm_div_ss(_mm_set_ss(1), _mm_sqrt_ss(_mm_set_ss(x))));
}

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
