#pragma once

#include <cstdint>

namespace cllm {

/// Bytes that programs of this host can still take without swapping, as the kernel estimates it;
/// the largest number where it doesn't say.
std::uint64_t available_memory();

}  // namespace cllm
