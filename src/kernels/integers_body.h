#pragma once

#include "cllm/kernels/kernels.h"
#include "vector.h"

namespace cllm::kernels {
namespace {

/// The largest bits of all elements, as numbers without a sign.
class RunningLargest {
 public:
  template <std::size_t kCount>
  void take(const Pack<kCount>& bits) {
    if constexpr (kCount == 4) {
      many_ = largest_bits(many_, bits);
    } else {
      for_each_eight(bits, [&](std::size_t, const auto& eight) {
        one_ = largest_bits(one_, Vector::map([&](std::size_t) { return eight; }));
      });
    }
  }
  std::uint32_t value() const {
    const Vector all = largest_bits(largest_bits(many_.one(0), many_.one(1)),
                                    largest_bits(largest_bits(many_.one(2), many_.one(3)), one_));
    return Eight::top_bits(all.v[0]);
  }

 private:
  Pack<4> many_ = 0;
  Vector one_ = 0;
};

/// Without their signs, the bits of floats are in the order of the floats, and NaNs come last.
[[gnu::flatten]] float largest(const float* x, std::size_t n) {
  RunningLargest running;
  for_each_pack<4>(n, [&](std::size_t i, auto part) {
    using V = typename decltype(part)::Value;
    running.take(and_not(V(-0.0f), part.load(x + i)));
  });
  return __builtin_bit_cast(float, running.value());
}

[[gnu::flatten]] void encode(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    part.store(sums + i, round_to_bits(part.load(x + i) * scale));
  });
}

[[gnu::flatten]] void encode_add(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    prefetch(sums + i, kNearAhead);
    prefetch(sums + i, kNearAhead + 64);
    part.store(sums + i, add_bits(part.load(sums + i), round_to_bits(part.load(x + i) * scale)));
  });
}

/// low + high 2^30 += the product, rounded. All steps are exact but the last rounding: the upper
/// part and what it leaves have no more digits than the product.
template <std::size_t kCount>
void add_product(const Pack<kCount>& product, Pack<kCount>& low, Pack<kCount>& high) {
  using Value = Pack<kCount>;
  const Value upper = round_to_bits(product * Value(0x1p-30f));
  const Value rest = subtract_product(bits_to_float(upper), Value(0x1p30f), product);
  low = add_bits(low, round_to_bits(rest));
  high = add_bits(high, upper);
}

[[gnu::flatten]] void encode_add_wide(const float* x, float scale, std::int32_t* low,
                                      std::int32_t* high, std::size_t n) {
  for_each_pack<2>(n, [=](std::size_t i, auto part) {
    auto sum_low = part.load(low + i), sum_high = part.load(high + i);
    add_product(part.load(x + i) * scale, sum_low, sum_high);
    part.store(low + i, sum_low);
    part.store(high + i, sum_high);
  });
}

[[gnu::flatten]] void add_integers(const std::int32_t* x, std::int32_t* y, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    part.store(y + i, add_bits(part.load(y + i), part.load(x + i)));
  });
}

[[gnu::flatten]] IntegerNorm integer_norm(const std::int32_t* x, std::size_t n) {
  SquareSums sums;
  Pack<2> tops = 0;
  Vector top = 0;
  for_each_pack<2>(n, [&](std::size_t i, auto part) {
    prefetch(x + i, kFarAhead);
    const auto bits = part.load(x + i);
    for_each_eight(bits, [&](std::size_t k, const auto& eight) { sums.add_integers(k, eight); });
    // |-2^31| is right as a number without a sign.
    if constexpr (sizeof(bits) == sizeof(tops)) {
      tops = largest_bits(tops, absolute_bits(bits));
    } else {
      top = largest_bits(top, absolute_bits(bits));
    }
  });
  const Vector all = largest_bits(largest_bits(tops.one(0), tops.one(1)), top);
  return {sums.total(), Eight::top_bits(all.v[0])};
}

inline void set_integers(Kernels& table) {
  table.largest = largest;
  table.encode = encode;
  table.encode_add = encode_add;
  table.encode_add_wide = encode_add_wide;
  table.add_integers = add_integers;
  table.integer_norm = integer_norm;
}

}  // namespace
}  // namespace cllm::kernels
