#include "cllm/kernels/kernels.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "attention_room.h"
#include "cllm/base/error.h"
#include "cllm/kernels/blas.h"
#include "cllm/kernels/implementations.h"
#include "tables.h"

namespace cllm::kernels {
namespace {

constexpr const char* kVariable = "CLLM_KERNELS";

/// One way to fill the table.
struct Implementation {
  const char* name;
  bool (*runs_here)();
  const Kernels& (*table)();
};

/// Made once, by code that runs on any processor.
template <void (*kSet)(Kernels&)>
const Kernels& made(const char* name) {
  static const Kernels table = [name] {
    Kernels kernels = reference_kernels();
    kernels.name = name;
    kernels.has_fixed_order = true;
    kSet(kernels);
#ifdef CLLM_HAS_AVX2
    if (has_avx2()) set_sets(kernels);
#endif
    return kernels;
  }();
  return table;
}

constexpr Implementation kAll[] = {
#ifdef CLLM_HAS_AVX2
    {"avx512", [] { return vector_units().avx512; },
     []() -> const Kernels& { return made<set_avx512_kernels>("avx512"); }},
    {"avx2", has_avx2, []() -> const Kernels& { return made<set_avx2_kernels>("avx2"); }},
#endif
    {"portable", [] { return true; },
     []() -> const Kernels& { return made<set_portable_kernels>("portable"); }},
    {"reference", [] { return true; }, reference_kernels}};

const Kernels& find(std::string_view name, std::string_view asked_by) {
  const auto* const found = std::ranges::find(kAll, name, &Implementation::name);
  if (found != std::end(kAll) && found->runs_here()) return found->table();
  std::string names;
  for (const Kernels* each : runnable_kernels()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", each->name);
  }
  fail("{}{}: {}; it has {}", asked_by, name,
       found == std::end(kAll) ? "this program has no such kernels"
                               : "this processor lacks the instructions for these kernels",
       names);
}

}  // namespace

bool has_avx2() {
#ifdef CLLM_HAS_AVX2
  return vector_units().avx2;
#else
  return false;
#endif
}

std::vector<const Kernels*> runnable_kernels() {
  std::vector<const Kernels*> tables;
  for (const Implementation& each : kAll) {
    if (each.runs_here()) tables.push_back(&each.table());
  }
  return tables;
}

const Kernels& find_kernels(std::string_view name) { return find(name, ""); }

std::size_t attention_workspace(std::size_t size, std::size_t positions) {
  return place_room(nullptr, size, positions).floats;
}

const Kernels& select_kernels() {
  if (const char* const name = std::getenv(kVariable))
    return find(name, fmt::format("{}=", kVariable));
  return *runnable_kernels().front();
}

}  // namespace cllm::kernels
