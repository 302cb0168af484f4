#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace cllm {

/// Alignment in bytes of every slab: one cache line, and enough for any vector load.
inline constexpr std::size_t kSlabAlignment = 64;

/// One owning, zeroed, 64-byte-aligned, move-only array of plain values. Views of it are
/// `std::span`s and pointers; they never own. Throws std::bad_alloc when memory is short.
/// Distinct elements may be written by distinct threads.
template <typename T>
class Slab {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Slab() = default;
  explicit Slab(std::size_t size) : Slab(untouched(size)) { std::fill_n(data_.get(), size, T{}); }

  /// One whose elements have no value yet, and whose pages take no memory until they get one.
  static Slab untouched(std::size_t size) {
    Slab slab;
    if (size == 0) return slab;
    if (size > kMostBytes / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes =
        (size * sizeof(T) + kSlabAlignment - 1) / kSlabAlignment * kSlabAlignment;
    slab.data_.reset(static_cast<T*>(std::aligned_alloc(kSlabAlignment, bytes)));
    if (!slab.data_) throw std::bad_alloc();
    slab.size_ = size;
    return slab;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  std::span<T> span() { return {data(), size_}; }
  std::span<const T> span() const { return {data(), size_}; }
  void fill(T value) { std::fill_n(data_.get(), size_, value); }

 private:
  static constexpr std::size_t kMostBytes =
      std::numeric_limits<std::ptrdiff_t>::max() - kSlabAlignment;

  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T[], Free> data_;
  std::size_t size_ = 0;
};

}  // namespace cllm
