#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace cllm {

/// Bytes of memory; the largest number where nobody limits them.
struct Memory {
  std::uint64_t total, available;
};

/// What the control groups of a process leave it, Slurm's for a job among them: the least that its
/// group or one around it does. `mount`: where their file systems are, by convention; `groups`: the
/// contents of the process' /proc/self/cgroup. Pages of files that the kernel would give up count
/// as available.
Memory control_group_memory(const std::filesystem::path& mount, const std::string& groups);

/// Bytes that programs of this host, or of this job where less is its share, can still take without
/// swapping, as the kernel estimates it; the largest number where it doesn't say.
std::uint64_t available_memory();

/// Of this host, or this job where less is its share.
std::uint64_t total_memory();

/// Bytes by which this process may still grow (ulimit -v); the largest number where nobody limits
/// it.
std::uint64_t address_space_left();

/// Bytes of this process that are in memory now, and the most that ever were; 0 where the kernel
/// doesn't say.
std::uint64_t resident_memory();
std::uint64_t peak_resident_memory();

/// Gives back to the system what the program has freed but its allocator keeps.
void return_free_memory();

}  // namespace cllm
