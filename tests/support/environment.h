#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace cllm::support {

/// How often a randomised test repeats: an environment variable, else a default.
inline std::uint64_t count_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

}  // namespace cllm::support
