#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace cllm::lattice {

/// A probability that follows the bits it is shown: their mean, in which, once it has seen 256,
/// every further one counts as a 256th.
class AdaptiveBit {
 public:
  static constexpr unsigned kPrecision = 12;

  /// Of a 0, in units of 2^-12; between 1 and 4095.
  std::uint32_t zero() const {
    constexpr std::uint32_t kLeast = 1, kMost = (1U << kPrecision) - 1;
    return std::clamp(std::uint32_t{zero_} >> (16 - kPrecision), kLeast, kMost);
  }

  void update(bool bit) {
    const std::int32_t change = ((bit ? 0 : 0xffff) - std::int32_t{zero_}) / weight_;
    zero_ = static_cast<std::uint16_t>(zero_ + change);
    if (weight_ < kMemory) ++weight_;
  }

 private:
  static constexpr std::uint16_t kMemory = 256;

  std::uint16_t zero_ = 1U << 15;
  std::uint16_t weight_ = 2;  // as if it had seen a 0 and a 1 half each
};

/// A binary arithmetic coder that works byte by byte (Martin, "Range encoding", 1979), with carries
/// into bytes that were set aside. Integer arithmetic alone: the same bits make the same bytes on
/// any machine. Not thread-safe.
class RangeEncoder {
 public:
  void encode(AdaptiveBit& model, bool bit);
  /// The `count` low bits of `value`, each as likely 0 as 1; count <= 32.
  void encode_raw(std::uint32_t value, unsigned count);
  /// The bytes of all that was encoded; nothing may be encoded afterwards.
  std::string finish();

 private:
  void normalize();
  void shift_low();

  std::string bytes_;
  std::uint64_t low_ = 0;
  std::uint32_t range_ = 0xffffffff;
  std::uint8_t cache_ = 0;          // a byte that a carry may still change,
  std::uint64_t cached_bytes_ = 0;  // and the 0xff that follow it, which pass a carry on
  bool is_first_ = true;            // the very first byte is always 0, and is left out
};

/// Reads what `RangeEncoder` wrote. Takes any bytes: beyond their end it reads zeros.
class RangeDecoder {
 public:
  explicit RangeDecoder(std::string_view bytes);
  bool decode(AdaptiveBit& model);
  std::uint32_t decode_raw(unsigned count);
  /// Whether as many bytes were read as there were: neither more nor fewer.
  bool is_at_end() const { return at_ == bytes_.size() && !overrun_; }

 private:
  std::uint8_t next();
  void normalize();

  std::string_view bytes_;
  std::size_t at_ = 0;
  bool overrun_ = false;
  std::uint32_t code_ = 0;
  std::uint32_t range_ = 0xffffffff;
};

}  // namespace cllm::lattice
