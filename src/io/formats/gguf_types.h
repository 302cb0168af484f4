#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "cllm/io/formats/element_type.h"

namespace cllm::io::gguf {

// Numbers of the format, which reader and writer share.

inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::uint64_t kAlignment = 32;  // of tensors, where no key says otherwise
inline constexpr const char* kAlignmentKey = "general.alignment";
inline constexpr std::size_t kMostName = 63;
inline constexpr std::uint32_t kMostDimensions = 4;

/// Types of values.
enum Value : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kList,
  kU64,
  kI64,
  kF64
};

/// Types of tensors, by the number that the format has for them.
struct TensorType {
  std::uint32_t number;
  ElementType type;
};
inline constexpr std::array kTensorTypes = {
    TensorType{0, ElementType::kF32}, TensorType{1, ElementType::kF16},
    TensorType{2, ElementType::kQ4_0}, TensorType{8, ElementType::kQ8_0},
    TensorType{30, ElementType::kBf16}};

inline std::optional<ElementType> type_of(std::uint32_t number) {
  for (const TensorType& known : kTensorTypes) {
    if (known.number == number) return known.type;
  }
  return std::nullopt;
}

inline std::uint32_t number_of(ElementType type) {
  return std::ranges::find(kTensorTypes, type, &TensorType::type)->number;
}

}  // namespace cllm::io::gguf
