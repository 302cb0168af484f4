#include "cllm/kernels/kernels.h"

#include <cstdlib>
#include <string_view>

#include "avx2.h"
#include "cllm/base/error.h"

namespace cllm::kernels {

bool has_avx2() {
#ifdef CLLM_HAS_AVX2
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

const Kernels& avx2_kernels() {
  if (!has_avx2()) {
    fail("this processor or this build has no AVX2 and FMA; set CLLM_KERNELS=portable or unset it");
  }
#ifdef CLLM_HAS_AVX2
  static const Kernels table = [] {
    Kernels made{};
    made.name = "avx2";
    avx2::set_math(made);
    avx2::set_integers(made);
    avx2::set_sets(made);
    avx2::set_layers(made);
    avx2::set_layernorm(made);
    avx2::set_rmsnorm(made);
    avx2::set_attention(made);
    avx2::set_loss(made);
    avx2::set_optimizer(made);
    return made;
  }();
  return table;
#else
  return portable_kernels();
#endif
}

const Kernels& select_kernels() {
  const char* forced = std::getenv("CLLM_KERNELS");
  if (forced == nullptr) {
    return has_avx2() ? avx2_kernels() : portable_kernels();
  }
  const std::string_view name = forced;
  if (name == "avx2") {
    return avx2_kernels();
  }
  if (name == "portable") {
    return portable_kernels();
  }
  fail("CLLM_KERNELS={}: there is no such implementation; set it to portable or avx2, or unset it",
       name);
}

}  // namespace cllm::kernels
