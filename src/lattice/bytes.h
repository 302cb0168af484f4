#pragma once

#include <bit>
#include <cstring>
#include <string>
#include <string_view>

#include "cllm/base/error.h"

namespace cllm::lattice {

static_assert(std::endian::native == std::endian::little,
              "numbers are stored as they lie in memory");

/// Appends the bytes of a number, little-endian.
template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

/// Takes a number off the front. Throws Error, a clause without a subject, where too few bytes are
/// left.
template <typename T>
T take(std::string_view& bytes) {
  T value{};
  if (bytes.size() < sizeof(T)) fail("the bytes are too few");
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

}  // namespace cllm::lattice
