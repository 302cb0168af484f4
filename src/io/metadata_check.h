#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cllm::io {

// HDF5 1.10 believes the lengths and counts in metadata whose checksum is right: it copies past
// their end, divides by what is zero, and allocates what they ask for. These checks go before it.
// They know what checkpoints are made of, which is little, and refuse all else: object headers of
// version 2 with numbers and fixed-length strings; of groups of version-1 checkpoints, which have
// their links outside of the header, also the headers of their heap and B-tree.

/// Whether HDF5 may read the piece of metadata that begins so. `file_size` bounds what it may point
/// to.
bool may_parse(std::span<const std::byte> block, std::uint64_t file_size);

/// The size of the piece of metadata with this beginning, where it stands in there: that of the
/// superblock, or of an object header's first chunk. 0 for any other, which HDF5 reads at once.
std::uint64_t size_of_piece(std::span<const std::byte> beginning);

/// Bytes that `size_of_piece` needs at most.
inline constexpr std::size_t kPieceBeginning = 34;

}  // namespace cllm::io
