#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cllm::collectives {

/// The memory that the ranks of a host share, as they use it: a box for each lane and rank, which
/// holds the pieces under way from one to the other. From a rank that doesn't own the lane they are
/// its addends for the owner; from the owner, sums for all others. Pieces are numbered through all
/// operations and never reset, so that a rank may be in the next while others end this one.
/// Thread-safe, between processes.
class Boxes {
 public:
  /// `memory`: of bytes() bytes, aligned to 64, zero before its first use.
  Boxes(std::byte* memory, std::size_t ranks, std::size_t lanes, std::size_t slots,
        std::size_t piece_bytes)
      : memory_(memory), ranks_(ranks), lanes_(lanes), piece_bytes_(piece_bytes), slots_(slots) {}

  std::size_t bytes() const { return lanes_ * ranks_ * (kHeader + slots_ * piece_bytes_); }

  /// How many pieces the rank has put in.
  std::atomic_ref<std::uint64_t> put(std::size_t lane, std::size_t rank) const {
    return counter(lane, rank, 0);
  }
  /// How many pieces of sums the rank has read from the lane's owner; of the owner: how many pieces
  /// it has taken from every other rank.
  std::atomic_ref<std::uint64_t> read(std::size_t lane, std::size_t rank) const {
    return counter(lane, rank, kLine);
  }
  std::byte* piece(std::size_t lane, std::size_t rank, std::uint64_t number) const {
    return memory_ + lanes_ * ranks_ * kHeader +
           ((lane * ranks_ + rank) * slots_ + number % slots_) * piece_bytes_;
  }
  std::uint64_t slots() const { return slots_; }
  std::size_t piece_bytes() const { return piece_bytes_; }

 private:
  static constexpr std::size_t kLine = 64;  // one for each writer
  static constexpr std::size_t kHeader = 2 * kLine;

  std::atomic_ref<std::uint64_t> counter(std::size_t lane, std::size_t rank,
                                         std::size_t offset) const {
    static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);
    return std::atomic_ref<std::uint64_t>(
        *reinterpret_cast<std::uint64_t*>(memory_ + (lane * ranks_ + rank) * kHeader + offset));
  }

  std::byte* memory_;
  std::size_t ranks_, lanes_, piece_bytes_, slots_;
};

}  // namespace cllm::collectives
