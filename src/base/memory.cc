#include "cllm/base/memory.h"

#include <sys/resource.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "cllm/base/control_group.h"

namespace cllm {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

/// The number after the word `name` at the beginning of a line.
std::optional<std::uint64_t> number_in(const fs::path& path, const std::string& name) {
  std::ifstream file(path);
  std::string word, rest;
  while (file >> word) {
    std::uint64_t number = 0;
    if (word == name && file >> number) return number;
    std::getline(file, rest);
  }
  return {};
}

/// The same of a file of lines "name: number kB", in bytes.
std::uint64_t bytes_in(const char* path, const std::string& name, std::uint64_t otherwise) {
  const std::optional<std::uint64_t> kilobytes = number_in(path, name);
  return kilobytes ? *kilobytes * 1024 : otherwise;
}

/// The number that is all of a file; nothing where it is a word, such as "max".
std::optional<std::uint64_t> number_in(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return {};
}

/// The files of a control group (Linux: Documentation/admin-guide/cgroup-v1/memory.rst and
/// cgroup-v2.rst), and the line of its memory.stat that has what the kernel would give up.
struct GroupFiles {
  const char *limit, *usage, *reclaimable;
};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                  "total_inactive_file"};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file"};

void limit_by(const fs::path& group, const GroupFiles& files, Memory& memory) {
  const std::optional<std::uint64_t> limit = number_in(group / files.limit);
  if (!limit) return;
  memory.total = std::min(memory.total, *limit);
  const std::uint64_t usage = number_in(group / files.usage).value_or(0);
  const std::uint64_t reclaimable = number_in(group / "memory.stat", files.reclaimable).value_or(0);
  const std::uint64_t held = usage - std::min(usage, reclaimable);
  memory.available = std::min(memory.available, *limit - std::min(*limit, held));
}

/// Of this process.
Memory my_memory() { return control_group_memory(kControlGroups, my_control_groups()); }

}  // namespace

Memory control_group_memory(const fs::path& mount, const std::string& groups) {
  Memory memory{kUnlimited, kUnlimited};
  visit_control_groups(mount, groups, "memory", [&](const fs::path& group, bool is_version_2) {
    limit_by(group, is_version_2 ? kVersion2 : kVersion1, memory);
  });
  return memory;
}

std::uint64_t available_memory() {
  return std::min(bytes_in("/proc/meminfo", "MemAvailable:", kUnlimited), my_memory().available);
}

std::uint64_t total_memory() {
  return std::min(bytes_in("/proc/meminfo", "MemTotal:", kUnlimited), my_memory().total);
}

std::uint64_t address_space_left() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  return limit.rlim_cur -
         std::min<std::uint64_t>(limit.rlim_cur, bytes_in("/proc/self/status", "VmSize:", 0));
}

std::uint64_t resident_memory() { return bytes_in("/proc/self/status", "VmRSS:", 0); }

std::uint64_t peak_resident_memory() { return bytes_in("/proc/self/status", "VmHWM:", 0); }

void return_free_memory() {
// A sanitizer brings an allocator of its own, and the C library's is then not made for use.
#if defined(__GLIBC__) && !defined(CLLM_SANITIZED)
  ::malloc_trim(0);
#endif
}

}  // namespace cllm
