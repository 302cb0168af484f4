#include "cllm/base/processors.h"

#include <sched.h>
#include <unistd.h>

#include <array>
#include <fstream>

namespace cllm {

std::vector<int> available_processors() {
  std::vector<int> processors;
  // Machines with over 1024 processors need a larger set than cpu_set_t; grow until it fits.
  for (int capacity = 1024; processors.empty() && capacity <= 1 << 20; capacity *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(capacity));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(capacity));
    if (sched_getaffinity(0, bytes, set) == 0) {
      for (int i = 0; i < capacity; ++i) {
        if (CPU_ISSET_S(static_cast<std::size_t>(i), bytes, set)) processors.push_back(i);
      }
    }
    CPU_FREE(set);
  }
  if (processors.empty()) processors.push_back(0);
  return processors;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::string processor_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (line.starts_with("model name") && colon + 2 < line.size()) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace cllm
