#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::io {

/// Reads little-endian values from the front of bytes. Throws Error where they end too early.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string name)
      : all_(bytes), name_(std::move(name)) {}

  template <typename T>
  requires std::integral<T> || std::floating_point<T> T read() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> take(std::uint64_t count) {
    if (count > all_.size() - at_) fail("{} is cut off, or corrupt", name_);
    const std::span<const std::byte> taken = all_.subspan(at_, count);
    at_ += count;
    return taken;
  }

  /// u64 length and as many bytes, as GGUF has them.
  std::string text() {
    const auto bytes = take(read<std::uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::size_t position() const { return at_; }

 private:
  std::span<const std::byte> all_;
  std::size_t at_ = 0;
  std::string name_;
};

}  // namespace cllm::io
