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

/// Alignment in bytes of every flat buffer: one cache line, and enough for any vector load.
inline constexpr std::size_t kBufferAlignment = 64;

/// One owning, zeroed, 64-byte-aligned, move-only array of plain values. Views of it are
/// `std::span`s and pointers; they never own. Throws std::bad_alloc when memory is short.
/// Distinct elements may be written by distinct threads. A large one takes memory where it is
/// written first, near the processor whose thread does that.
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size) : size_(size) {
    if (size == 0) return;
    if (size > kMostBytes / sizeof(T)) throw std::bad_alloc();
    // Zeros from the system, which calloc leaves as they are: nothing is touched yet.
    std::size_t bytes = size * sizeof(T) + kBufferAlignment;
    void* const block = std::calloc(bytes, 1);
    if (block == nullptr) throw std::bad_alloc();
    void* first = block;
    std::align(kBufferAlignment, size * sizeof(T), first, bytes);
    data_ = {static_cast<T*>(first), Free{block}};
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
      std::numeric_limits<std::ptrdiff_t>::max() - kBufferAlignment;

  struct Free {
    void* block = nullptr;  // that the elements lie in
    void operator()(T*) const { std::free(block); }
  };
  std::unique_ptr<T[], Free> data_;
  std::size_t size_ = 0;
};

}  // namespace cllm
