#include "cllm/base/denormals.h"

#include <limits>

namespace cllm {

void flush_denormals() {
#ifdef __SSE2__
  // Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, 10.2.3.
  constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | kFlushToZero | kDenormalsAreZero);
#endif
}

bool flushes_denormals() {
  // Volatile, so that it is this thread that computes, and not the compiler.
  volatile float smallest = std::numeric_limits<float>::min();
  volatile float denormal = std::numeric_limits<float>::denorm_min();
  volatile float half = 0.5f, large = 0x1p100f;
  return smallest * half == 0 && denormal * large == 0;
}

}  // namespace cllm
