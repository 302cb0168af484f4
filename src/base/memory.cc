#include "cllm/base/memory.h"

#include <fstream>
#include <limits>
#include <string>

namespace cllm {

namespace {

/// The number of bytes in the line `name` of a file of lines "name: number kB", or `otherwise`.
std::uint64_t bytes_in(const char* path, const std::string& name, std::uint64_t otherwise) {
  std::ifstream file(path);
  std::string word, rest;
  while (file >> word) {
    std::uint64_t kilobytes = 0;
    if (word == name && file >> kilobytes) return kilobytes * 1024;
    std::getline(file, rest);
  }
  return otherwise;
}

}  // namespace

std::uint64_t available_memory() {
  return bytes_in("/proc/meminfo", "MemAvailable:", std::numeric_limits<std::uint64_t>::max());
}

std::uint64_t resident_memory() { return bytes_in("/proc/self/status", "VmRSS:", 0); }

std::uint64_t peak_resident_memory() { return bytes_in("/proc/self/status", "VmHWM:", 0); }

}  // namespace cllm
