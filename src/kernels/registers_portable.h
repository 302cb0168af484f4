#pragma once

#include <cstddef>
#include <cstdint>

/// Registers of eight floats as any compiler has them: what vector.h makes its packs of where no
/// wider instructions are known. Each operation is that of registers_avx2.h, bit by bit.
namespace cllm::kernels {
namespace {

struct Eight {
  static constexpr std::size_t kFloats = 8;
  struct Value {
    float x[kFloats];
  };
  struct Mask {
    bool x[kFloats];
  };

  template <typename Operation>
  static Value each(const Operation& operation) {
    Value result;
    for (std::size_t i = 0; i < kFloats; ++i) result.x[i] = operation(i);
    return result;
  }
  template <typename Test>
  static Mask which(const Test& test) {
    Mask result;
    for (std::size_t i = 0; i < kFloats; ++i) result.x[i] = test(i);
    return result;
  }
  static std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
  static float of(std::uint32_t x) { return __builtin_bit_cast(float, x); }

  static Value broadcast(float x) {
    return each([=](std::size_t) { return x; });
  }
  static Value load(const float* from) {
    Value result;
    __builtin_memcpy(result.x, from, sizeof(result.x));
    return result;
  }
  static void store(float* to, const Value& a) { __builtin_memcpy(to, a.x, sizeof(a.x)); }
  static Value load(const std::int32_t* from) {
    Value result;
    __builtin_memcpy(result.x, from, sizeof(result.x));
    return result;
  }
  static void store(std::int32_t* to, const Value& a) { __builtin_memcpy(to, a.x, sizeof(a.x)); }

  static Value add(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return a.x[i] + b.x[i]; });
  }
  static Value subtract(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return a.x[i] - b.x[i]; });
  }
  static Value multiply(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return a.x[i] * b.x[i]; });
  }
  static Value divide(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return a.x[i] / b.x[i]; });
  }
  static Value fma(const Value& a, const Value& b, const Value& c) {
    return each([&](std::size_t i) { return __builtin_fmaf(a.x[i], b.x[i], c.x[i]); });
  }
  static Value subtract_product(const Value& a, const Value& b, const Value& c) {
    return each([&](std::size_t i) { return __builtin_fmaf(-a.x[i], b.x[i], c.x[i]); });
  }
  static Value root(const Value& a) {
    return each([&](std::size_t i) { return __builtin_sqrtf(a.x[i]); });
  }
  static Value min(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
  }
  static Value max(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
  }

  static Mask less(const Value& a, const Value& b) {
    return which([&](std::size_t i) { return a.x[i] < b.x[i]; });
  }
  static Mask not_less(const Value& a, const Value& b) {
    return which([&](std::size_t i) { return !(a.x[i] < b.x[i]); });
  }
  static Mask equal(const Value& a, const Value& b) {
    return which([&](std::size_t i) { return a.x[i] == b.x[i]; });
  }
  static Value select(const Mask& mask, const Value& yes, const Value& no) {
    return each([&](std::size_t i) { return mask.x[i] ? yes.x[i] : no.x[i]; });
  }
  static Value where(const Mask& mask, const Value& a) {
    return each([&](std::size_t i) { return mask.x[i] ? a.x[i] : 0.0f; });
  }

  template <typename Operation>
  static Value each_bits(const Operation& operation) {
    return each([&](std::size_t i) { return of(operation(i)); });
  }
  static Value bit_and(const Value& a, const Value& b) {
    return each_bits([&](std::size_t i) { return bits(a.x[i]) & bits(b.x[i]); });
  }
  static Value bit_or(const Value& a, const Value& b) {
    return each_bits([&](std::size_t i) { return bits(a.x[i]) | bits(b.x[i]); });
  }
  static Value and_not(const Value& a, const Value& b) {
    return each_bits([&](std::size_t i) { return ~bits(a.x[i]) & bits(b.x[i]); });
  }
  static Value add_bits(const Value& a, const Value& b) {
    return each_bits([&](std::size_t i) { return bits(a.x[i]) + bits(b.x[i]); });
  }
  static Value subtract_bits(const Value& a, const Value& b) {
    return each_bits([&](std::size_t i) { return bits(a.x[i]) - bits(b.x[i]); });
  }
  static Value shift_left(const Value& a, int count) {
    return each_bits([&](std::size_t i) { return bits(a.x[i]) << count; });
  }
  static Value shift_right(const Value& a, int count) {
    return each_bits([&](std::size_t i) {
      return static_cast<std::uint32_t>(static_cast<std::int32_t>(bits(a.x[i])) >> count);
    });
  }
  static Value largest_bits(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return bits(a.x[i]) > bits(b.x[i]) ? a.x[i] : b.x[i]; });
  }
  static Value absolute_bits(const Value& a) {
    return each_bits(
        [&](std::size_t i) { return bits(a.x[i]) >> 31 != 0 ? 0 - bits(a.x[i]) : bits(a.x[i]); });
  }
  static Value bits_to_float(const Value& a) {
    return each(
        [&](std::size_t i) { return static_cast<float>(static_cast<std::int32_t>(bits(a.x[i]))); });
  }
  static Value round_to_bits(const Value& a) {
    return each_bits([&](std::size_t i) {
      const bool has_one = a.x[i] >= -0x1p31f && a.x[i] < 0x1p31f;
      return has_one
                 ? static_cast<std::uint32_t>(static_cast<std::int32_t>(__builtin_rintf(a.x[i])))
                 : 0x80000000u;
    });
  }

  static Value eight(const Value& a, std::size_t) { return a; }

  static float first(const Value& a) { return a.x[0]; }
  static float sum(const Value& a) {
    const float* const x = a.x;
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
  }
  static float top(const Value& a) {
    const auto larger = [](float x, float y) { return x > y ? x : y; };
    float half[4];
    for (std::size_t i = 0; i < 4; ++i) half[i] = larger(a.x[i], a.x[i + 4]);
    return larger(larger(half[0], half[2]), larger(half[1], half[3]));
  }
  static std::uint32_t top_bits(const Value& a) {
    std::uint32_t top = 0;
    for (const float x : a.x) top = bits(x) > top ? bits(x) : top;
    return top;
  }
};

/// The first 1 to 7 of eight.
class Some {
 public:
  explicit Some(std::size_t count) : count_(count) {}

  template <typename Element>
  Eight::Value load(const Element* from) const {
    Eight::Value result = Eight::broadcast(0);
    for (std::size_t i = 0; i < count_; ++i) __builtin_memcpy(&result.x[i], from + i, 4);
    return result;
  }
  template <typename Element>
  void store(Element* to, const Eight::Value& a) const {
    for (std::size_t i = 0; i < count_; ++i) __builtin_memcpy(to + i, &a.x[i], 4);
  }
  Eight::Value keep(const Eight::Value& a, const Eight::Value& other) const {
    return Eight::each([&](std::size_t i) { return i < count_ ? a.x[i] : other.x[i]; });
  }

 private:
  std::size_t count_;
};

struct FourDoubles {
  static constexpr std::size_t kCount = 4;
  struct Value {
    double x[kCount];
  };

  template <typename Operation>
  static Value each(const Operation& operation) {
    Value result;
    for (std::size_t i = 0; i < kCount; ++i) result.x[i] = operation(i);
    return result;
  }
  static Value load(const double* from) {
    return each([=](std::size_t i) { return from[i]; });
  }
  static void store(double* to, const Value& a) {
    for (std::size_t i = 0; i < kCount; ++i) to[i] = a.x[i];
  }
  static Value broadcast(double x) {
    return each([=](std::size_t) { return x; });
  }
  static Value multiply(const Value& a, const Value& b) {
    return each([&](std::size_t i) { return a.x[i] * b.x[i]; });
  }
  static Value fma(const Value& a, const Value& b, const Value& c) {
    return each([&](std::size_t i) { return __builtin_fma(a.x[i], b.x[i], c.x[i]); });
  }
};

class SquareSums {
 public:
  void add(std::size_t group, const Eight::Value& a) {
    for (std::size_t i = 0; i < 8; ++i) add_one(8 * group + i, static_cast<double>(a.x[i]));
  }
  void add_integers(std::size_t group, const Eight::Value& a) {
    for (std::size_t i = 0; i < 8; ++i) {
      add_one(8 * group + i, static_cast<double>(static_cast<std::int32_t>(Eight::bits(a.x[i]))));
    }
  }
  double total() const {
    double sums[4];
    for (std::size_t i = 0; i < 4; ++i) {
      sums[i] = (sums_[i] + sums_[4 + i]) + (sums_[8 + i] + sums_[12 + i]);
    }
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
  }

 private:
  void add_one(std::size_t i, double x) { sums_[i] = __builtin_fma(x, x, sums_[i]); }

  double sums_[16] = {};
};

}  // namespace
}  // namespace cllm::kernels
