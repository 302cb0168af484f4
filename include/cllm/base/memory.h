#pragma once

#include <cstdint>

namespace cllm {

/// Bytes that programs of this host can still take without swapping, as the kernel estimates it;
/// the largest number where it doesn't say.
std::uint64_t available_memory();

/// Bytes of this process that are in memory now, and the most that ever were; 0 where the kernel
/// doesn't say.
std::uint64_t resident_memory();
std::uint64_t peak_resident_memory();

}  // namespace cllm
