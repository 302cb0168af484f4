#include "cllm/lattice/range_coder.h"

namespace cllm::lattice {
namespace {

/// Below it, a byte of the interval is settled.
constexpr std::uint32_t kSmallRange = 1U << 24;
constexpr int kCodeBytes = 4;

std::uint32_t share_of_zero(std::uint32_t range, const AdaptiveBit& model) {
  return (range >> AdaptiveBit::kPrecision) * model.zero();
}

}  // namespace

void RangeEncoder::shift_low() {
  const bool carry = low_ > 0xffffffff;
  // A byte of 0xff may still become 0x00 with a carry; what comes before it must wait with it.
  if (low_ < 0xff000000 || carry) {
    if (!is_first_) bytes_ += static_cast<char>(cache_ + carry);
    is_first_ = false;
    bytes_.append(cached_bytes_, static_cast<char>(carry ? 0x00 : 0xff));
    cached_bytes_ = 0;
    cache_ = static_cast<std::uint8_t>(low_ >> 24);
  } else {
    ++cached_bytes_;
  }
  low_ = (low_ & 0x00ffffff) << 8;
}

void RangeEncoder::normalize() {
  while (range_ < kSmallRange) {
    range_ <<= 8;
    shift_low();
  }
}

void RangeEncoder::encode(AdaptiveBit& model, bool bit) {
  const std::uint32_t zero = share_of_zero(range_, model);
  if (bit) {
    low_ += zero;
    range_ -= zero;
  } else {
    range_ = zero;
  }
  model.update(bit);
  normalize();
}

void RangeEncoder::encode_raw(std::uint32_t value, unsigned count) {
  while (count-- > 0) {
    range_ >>= 1;
    if ((value >> count & 1) != 0) low_ += range_;
    normalize();
  }
}

std::string RangeEncoder::finish() {
  for (int i = 0; i <= kCodeBytes; ++i) shift_low();
  return std::move(bytes_);
}

RangeDecoder::RangeDecoder(std::string_view bytes) : bytes_(bytes) {
  for (int i = 0; i < kCodeBytes; ++i) code_ = code_ << 8 | next();
}

std::uint8_t RangeDecoder::next() {
  if (at_ == bytes_.size()) {
    overrun_ = true;
    return 0;
  }
  return static_cast<std::uint8_t>(bytes_[at_++]);
}

void RangeDecoder::normalize() {
  while (range_ < kSmallRange) {
    range_ <<= 8;
    code_ = code_ << 8 | next();
  }
}

bool RangeDecoder::decode(AdaptiveBit& model) {
  const std::uint32_t zero = share_of_zero(range_, model);
  const bool bit = code_ >= zero;
  if (bit) {
    code_ -= zero;
    range_ -= zero;
  } else {
    range_ = zero;
  }
  model.update(bit);
  normalize();
  return bit;
}

std::uint32_t RangeDecoder::decode_raw(unsigned count) {
  std::uint32_t value = 0;
  while (count-- > 0) {
    range_ >>= 1;
    const bool bit = code_ >= range_;
    if (bit) code_ -= range_;
    value = value << 1 | static_cast<std::uint32_t>(bit);
    normalize();
  }
  return value;
}

}  // namespace cllm::lattice
