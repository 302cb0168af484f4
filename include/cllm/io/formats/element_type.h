#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace cllm::io {

/// How files of other programs store numbers: IEEE 754 binary32 and binary16; bfloat16, the upper
/// half of a binary32; and ggml's blocks of 32 numbers with a common scale in binary16: Q8_0 of 8
/// bits each, Q4_0 of 4. All little-endian.
enum class ElementType { kF32, kF16, kBf16, kQ8_0, kQ4_0 };

/// "f32", "f16", "bf16", "q8_0", "q4_0", as `--type` has them.
std::string_view name_of(ElementType type);

/// Numbers that are stored together: 32 of the quantised types, else 1. A row is a multiple of it.
std::size_t block_elements(ElementType type);
/// Bytes of such a block.
std::size_t block_bytes(ElementType type);
/// Bytes of `count` numbers, a multiple of `block_elements`.
std::size_t bytes_of(ElementType type, std::size_t count);

/// Exact: every binary16 is a float. NaNs keep their payload.
float half_to_float(std::uint16_t half);
/// Rounds to nearest, ties to even; above 65504 to infinity as IEEE 754 has it.
std::uint16_t float_to_half(float value);
/// Exact.
float bfloat16_to_float(std::uint16_t bits);
/// Rounds to nearest, ties to even.
std::uint16_t float_to_bfloat16(float value);

/// Reads values.size() numbers from bytes_of(type, values.size()) bytes at any alignment.
void decode(ElementType type, std::span<const std::byte> bytes, std::span<float> values);

/// The reverse; quantised types round as ggml's reference does (quantize_row_q8_0_ref,
/// quantize_row_q4_0_ref). Returns false where a finite number has become an infinite one: then
/// `bytes` are not to be used.
[[nodiscard]] bool encode(ElementType type, std::span<const float> values,
                          std::span<std::byte> bytes);

}  // namespace cllm::io
