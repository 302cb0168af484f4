#include "cllm/base/processors.h"

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "cllm/base/control_group.h"

namespace cllm {
namespace {

/// A set of processors for the kernel. Machines with over 1024 need a larger one than cpu_set_t.
class ProcessorSet {
 public:
  explicit ProcessorSet(int capacity)
      : capacity_(capacity), set_(CPU_ALLOC(static_cast<std::size_t>(capacity)), &free) {
    if (set_) CPU_ZERO_S(bytes(), set_.get());
  }
  std::size_t bytes() const { return CPU_ALLOC_SIZE(static_cast<std::size_t>(capacity_)); }
  cpu_set_t* get() const { return set_.get(); }
  void add(int processor) { CPU_SET_S(static_cast<std::size_t>(processor), bytes(), get()); }
  std::vector<int> numbers() const {
    std::vector<int> all;
    for (int i = 0; i < capacity_; ++i) {
      if (CPU_ISSET_S(static_cast<std::size_t>(i), bytes(), get())) all.push_back(i);
    }
    return all;
  }

 private:
  static void free(cpu_set_t* set) { CPU_FREE(set); }
  int capacity_;
  std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set_;
};

constexpr int kMostProcessors = 1 << 20;

/// Variables by which people and modules bind OpenMP's threads.
constexpr const char* kPlaces[] = {"OMP_PLACES", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY",
                                   "KMP_AFFINITY"};

/// What a file of the processor's topology says; empty where there is none.
std::string topology(const std::filesystem::path& system, int processor, const char* name) {
  std::ifstream file(system / ("cpu" + std::to_string(processor)) / "topology" / name);
  std::string text;
  std::getline(file, text);
  return text;
}

}  // namespace

std::vector<int> available_processors(int process) {
  for (int capacity = 1024; capacity <= kMostProcessors; capacity *= 2) {
    const ProcessorSet set(capacity);
    if (set.get() == nullptr) break;
    if (::sched_getaffinity(process, set.bytes(), set.get()) == 0) return set.numbers();
  }
  return {};
}

std::vector<int> available_processors() {
  std::vector<int> processors = available_processors(0);
  if (processors.empty()) processors.push_back(0);
  return processors;
}

std::vector<int> permitted_processors() {
  std::vector<int> permitted;
  // The kernel takes from a mask what isn't to be had, and this thread's is nobody else's.
  std::thread([&] {
    const ProcessorSet all(kMostProcessors);
    if (all.get() != nullptr) {
      std::memset(all.get(), ~0, all.bytes());
      ::sched_setaffinity(0, all.bytes(), all.get());
    }
    permitted = available_processors();
  }).join();
  return permitted;
}

bool run_on(std::span<const int> processors) {
  if (processors.empty()) return false;
  ProcessorSet set(std::ranges::max(processors) + 1);
  if (set.get() == nullptr) return false;
  for (const int processor : processors) set.add(processor);
  return ::sched_setaffinity(0, set.bytes(), set.get()) == 0;
}

std::vector<std::vector<int>> cores_of(std::span<const int> processors,
                                       const std::filesystem::path& system) {
  // By socket, and in it by the first of a core's processors.
  std::map<std::string, std::vector<int>> by_siblings;
  for (const int processor : processors) {
    std::string siblings = topology(system, processor, "thread_siblings_list");
    if (siblings.empty()) siblings = "cpu" + std::to_string(processor);
    by_siblings[siblings].push_back(processor);
  }
  std::vector<std::pair<int, std::vector<int>>> cores;
  for (const auto& [siblings, members] : by_siblings) {
    cores.emplace_back(std::atoi(topology(system, members[0], "physical_package_id").c_str()),
                       members);
  }
  std::ranges::sort(cores);
  std::vector<std::vector<int>> sorted;
  for (auto& [socket, members] : cores) sorted.push_back(std::move(members));
  return sorted;
}

int useful_threads() {
  const double processors = static_cast<double>(available_processors().size());
  return std::max(1, static_cast<int>(std::min(processors, processor_quota())));
}

bool undo_openmp_places() {
  if (omp_get_proc_bind() == omp_proc_bind_false) return false;
  std::set<int> processors;
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> members(static_cast<std::size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, members.data());
    processors.insert(members.begin(), members.end());
  }
  if (processors.empty() || !run_on(std::vector<int>(processors.begin(), processors.end()))) {
    return false;
  }
  bool is_set = false;
  for (const char* variable : kPlaces) {
    is_set = is_set || std::getenv(variable) != nullptr;
    ::unsetenv(variable);
  }
  return is_set;  // else it would start again for ever
}

void start_again(char** argv) {
  // By the link where the file is gone.
  std::error_code unreadable;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", unreadable);
  if (!unreadable) ::execv(program.c_str(), argv);
  ::execv("/proc/self/exe", argv);
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
