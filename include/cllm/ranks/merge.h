#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "cllm/base/aligned_buffer.h"
#include "cllm/ranks/process_group.h"

namespace cllm::ranks {

/// Puts together an array of which each element was written by one rank, in place, on all ranks:
/// the other ranks have 0 there, with all bits 0. The bits are added as integers, so that they
/// arrive as they are. To be called by all ranks.
template <typename T>
void merge(ProcessGroup& process_group, std::span<T> values) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  static_assert(sizeof(T) == sizeof(Bits) && std::is_trivially_copyable_v<T>);
  if (process_group.size() == 1) return;
  constexpr std::size_t kPiece = std::size_t{1} << 20;  // elements of a message
  AlignedBuffer<Bits> piece(std::min(kPiece, values.size()));
  for (std::size_t at = 0; at < values.size(); at += kPiece) {
    const std::size_t count = std::min(kPiece, values.size() - at);
    std::memcpy(piece.data(), values.data() + at, count * sizeof(T));
    process_group.all_reduce(piece.span().first(count));
    std::memcpy(values.data() + at, piece.data(), count * sizeof(T));
  }
}

}  // namespace cllm::ranks
