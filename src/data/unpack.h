#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace cllm::data {

/// Whether a file begins as one of gzip or of zstd does.
bool is_packed(std::span<const std::byte> file);

/// The contents of such a file; of several that stand one behind the other, all. Throws Error,
/// naming `name`, where it was cut short, is corrupt, or unpacks to so much that it is no text.
std::string unpack(std::span<const std::byte> file, const std::string& name);

}  // namespace cllm::data
