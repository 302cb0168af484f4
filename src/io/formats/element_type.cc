#include "cllm/io/formats/element_type.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace cllm::io {
namespace {

/// Numbers of a block of the quantised types.
constexpr std::size_t kBlock = 32;
constexpr std::size_t kScaleBytes = 2;

struct Facts {
  ElementType type;
  std::string_view name;
  std::size_t elements, bytes;
};

constexpr std::array kFacts = {Facts{ElementType::kF32, "f32", 1, 4},
                               Facts{ElementType::kF16, "f16", 1, 2},
                               Facts{ElementType::kBf16, "bf16", 1, 2},
                               Facts{ElementType::kQ8_0, "q8_0", kBlock, kScaleBytes + kBlock},
                               Facts{ElementType::kQ4_0, "q4_0", kBlock, kScaleBytes + kBlock / 2}};

const Facts& facts_of(ElementType type) { return kFacts[static_cast<std::size_t>(type)]; }

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

template <typename T>
void store(T value, std::byte* at) {
  std::memcpy(at, &value, sizeof(value));
}

/// Of the block's scale; where it is 0, or too small to have one, all its numbers become 0.
float inverse(float scale) {
  const float factor = 1 / scale;
  return std::isfinite(factor) ? factor : 0;
}

void decode_q8_0(const std::byte* block, std::span<float> values) {
  const float scale = half_to_float(load<std::uint16_t>(block));
  for (std::size_t i = 0; i < kBlock; ++i) {
    values[i] = scale * static_cast<float>(load<std::int8_t>(block + kScaleBytes + i));
  }
}

/// Sixteen bytes: number i in the low half of byte i, number i + 16 in the high one, both with 8
/// added.
void decode_q4_0(const std::byte* block, std::span<float> values) {
  const float scale = half_to_float(load<std::uint16_t>(block));
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    const auto pair = std::to_integer<int>(block[kScaleBytes + i]);
    values[i] = scale * static_cast<float>((pair & 15) - 8);
    values[i + kBlock / 2] = scale * static_cast<float>((pair >> 4) - 8);
  }
}

/// Whether the scale of a block can be stored.
bool store_scale(float scale, std::byte* block) {
  const std::uint16_t half = float_to_half(scale);
  store(half, block);
  return std::isfinite(half_to_float(half));
}

bool encode_q8_0(std::span<const float> values, std::byte* block) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  const float scale = largest / 127;
  const float factor = inverse(scale);
  for (std::size_t i = 0; i < kBlock; ++i) {
    store(static_cast<std::int8_t>(std::round(values[i] * factor)), block + kScaleBytes + i);
  }
  return store_scale(scale, block);
}

/// The number that is largest in size becomes -8 times the scale, exactly but for the scale's
/// rounding: of 16 steps, one more is below zero than above.
bool encode_q4_0(std::span<const float> values, std::byte* block) {
  float largest = 0;
  for (const float value : values) {
    if (std::abs(value) > std::abs(largest)) largest = value;
  }
  const float scale = largest / -8;
  const float factor = inverse(scale);
  const auto step = [&](float value) {
    return std::min(15, static_cast<int>(value * factor + 8.5f));
  };
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    const int pair = step(values[i]) | step(values[i + kBlock / 2]) << 4;
    block[kScaleBytes + i] = static_cast<std::byte>(pair);
  }
  return store_scale(scale, block);
}

}  // namespace

std::string_view name_of(ElementType type) { return facts_of(type).name; }
std::size_t block_elements(ElementType type) { return facts_of(type).elements; }
std::size_t block_bytes(ElementType type) { return facts_of(type).bytes; }
std::size_t bytes_of(ElementType type, std::size_t count) {
  return count / block_elements(type) * block_bytes(type);
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000U) << 16;
  const std::uint32_t rest = half & 0x7fffU;
  if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000U | (rest & 0x3ffU) << 13);
  // From bits for normal numbers; from an integer for subnormal ones, which are normal as floats.
  const float size = rest >= 0x400 ? std::bit_cast<float>((rest << 13) + (112U << 23))
                                   : static_cast<float>(rest) * 0x1p-24f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(size) | sign);
}

std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t size = bits & 0x7fffffffU;
  const std::uint32_t exponent = size >> 23;
  std::uint32_t half = 0;
  if (size > 0x7f800000U) {
    half = 0x7e00U | (size >> 13 & 0x3ffU);
  } else if (size >= 0x477ff000U) {  // from 65520 on, which is nearer to 65536 than to 65504
    half = 0x7c00U;
  } else if (exponent >= 113) {  // 2^-14: normal
    half = ((size + 0xfffU + (size >> 13 & 1U)) >> 13) - (112U << 10);
  } else if (exponent >= 102) {  // 2^-25: rounds to a multiple of 2^-24
    const std::uint32_t mantissa = (size & 0x7fffffU) | 0x800000U;
    const std::uint32_t shift = 126 - exponent;
    const std::uint32_t tie = 1U << (shift - 1);
    const std::uint32_t left = mantissa & ((1U << shift) - 1);
    half = mantissa >> shift;
    if (left > tie || (left == tie && (half & 1U) != 0)) ++half;
  }
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000U) | half);
}

float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // A NaN whose payload is below would become an infinity.
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

void decode(ElementType type, std::span<const std::byte> bytes, std::span<float> values) {
  const std::byte* at = bytes.data();
  const auto each_of_two_bytes = [&](float (*convert)(std::uint16_t)) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = convert(load<std::uint16_t>(at + 2 * i));
    }
  };
  const auto each_block = [&](void (*convert)(const std::byte*, std::span<float>)) {
    for (std::size_t i = 0; i < values.size(); i += kBlock, at += block_bytes(type)) {
      convert(at, values.subspan(i, kBlock));
    }
  };
  switch (type) {
    case ElementType::kF32:
      if (!values.empty()) std::memcpy(values.data(), at, values.size_bytes());
      return;
    case ElementType::kF16:
      return each_of_two_bytes(half_to_float);
    case ElementType::kBf16:
      return each_of_two_bytes(bfloat16_to_float);
    case ElementType::kQ8_0:
      return each_block(decode_q8_0);
    case ElementType::kQ4_0:
      return each_block(decode_q4_0);
  }
}

bool encode(ElementType type, std::span<const float> values, std::span<std::byte> bytes) {
  std::byte* at = bytes.data();
  const auto each_to_two_bytes = [&](std::uint16_t (*convert)(float),
                                     float (*back)(std::uint16_t)) {
    bool fits = true;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t bits = convert(values[i]);
      fits &= std::isfinite(back(bits)) || !std::isfinite(values[i]);
      store(bits, at + 2 * i);
    }
    return fits;
  };
  const auto each_block = [&](bool (*convert)(std::span<const float>, std::byte*)) {
    bool fits = true;
    for (std::size_t i = 0; i < values.size(); i += kBlock, at += block_bytes(type)) {
      fits &= convert(values.subspan(i, kBlock), at);
    }
    return fits;
  };
  switch (type) {
    case ElementType::kF32:
      if (!values.empty()) std::memcpy(at, values.data(), values.size_bytes());
      return true;
    case ElementType::kF16:
      return each_to_two_bytes(float_to_half, half_to_float);
    case ElementType::kBf16:
      return each_to_two_bytes(float_to_bfloat16, bfloat16_to_float);
    case ElementType::kQ8_0:
      return each_block(encode_q8_0);
    case ElementType::kQ4_0:
      return each_block(encode_q4_0);
  }
  return false;
}

}  // namespace cllm::io
