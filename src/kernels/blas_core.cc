#include <cblas.h>
#include <strings.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "cllm/base/processors.h"
#include "cllm/kernels/blas.h"

namespace cllm::kernels {
namespace {

constexpr const char* kCoreVariable = "OPENBLAS_CORETYPE";

/// OpenBLAS' names of processors without AVX2. Excavator isn't among them: it has AVX2, and is
/// chosen for what it is.
constexpr const char* kNarrowCores[] = {
    "Unknown",     "Katmai",     "Coppermine", "Northwood",  "Prescott", "Banias",
    "Atom",        "Core2",      "Penryn",     "Dunnington", "Nehalem",  "Nano",
    "Sandybridge", "Athlon",     "Opteron",    "Barcelona",  "Bobcat",   "Opteron_SSE3",
    "Bulldozer",   "Piledriver", "Steamroller"};

}  // namespace

VectorUnits vector_units() {
  VectorUnits units;
#if defined(__x86_64__) || defined(__i386__)
  units.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  units.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512cd");
#endif
  return units;
}

std::optional<std::string> better_blas_core(std::string_view description, std::string_view core,
                                            const VectorUnits& units, const char* requested) {
  const bool has_choice = description.find("DYNAMIC_ARCH") != std::string_view::npos;
  const bool is_narrow =
      std::any_of(std::begin(kNarrowCores), std::end(kNarrowCores), [&](std::string_view narrow) {
        return narrow.size() == core.size() &&
               strncasecmp(narrow.data(), core.data(), core.size()) == 0;
      });
  if (requested != nullptr || !has_choice || !is_narrow || !units.avx2) {
    return std::nullopt;
  }
  return units.avx512 ? "SkylakeX" : "Haswell";
}

std::optional<std::string> better_blas_core() {
  return better_blas_core(openblas_get_config(), openblas_get_corename(), vector_units(),
                          std::getenv(kCoreVariable));
}

std::optional<std::string> restart_with_better_blas_core(char** argv) {
  const std::optional<std::string> better = better_blas_core();
  if (!better) {
    return std::nullopt;
  }
  const std::string chosen = openblas_get_corename();
  setenv(kCoreVariable, better->c_str(), 1);
  start_again(argv);
  unsetenv(kCoreVariable);
  return "OpenBLAS does not know this processor and computes with its slow " + chosen +
         " kernels; set " + kCoreVariable + "=" + *better + " in the environment";
}

}  // namespace cllm::kernels
