#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace cllm {

/// XXH3-128 of bytes that may come in pieces. Not thread-safe.
class Digest {
 public:
  Digest();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  /// 32 hexadecimal digits, the high half first (the canonical form of XXH3-128).
  std::string hex() const;

 private:
  struct Free {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, Free> state_;
};

/// The digest of one range of bytes, as `Digest::hex` writes it.
std::string digest_hex(std::span<const std::byte> bytes);

}  // namespace cllm
