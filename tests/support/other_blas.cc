// To be loaded before OpenBLAS (LD_PRELOAD), which then describes itself as another build. What it
// claims to be stands in CLLM_OTHER_BLAS: "pthreads", or "two-buffers".

#include <dlfcn.h>

#include <cstdlib>
#include <string_view>

namespace {

bool claims(std::string_view what) {
  const char* const claimed = std::getenv("CLLM_OTHER_BLAS");
  return claimed != nullptr && claimed == what;
}

template <typename Result>
Result original(const char* name) {
  return reinterpret_cast<Result (*)()>(dlsym(RTLD_NEXT, name))();
}

}  // namespace

extern "C" int openblas_get_parallel() {
  constexpr int kPthreads = 1;
  return claims("pthreads") ? kPthreads : original<int>("openblas_get_parallel");
}

extern "C" char* openblas_get_config() {
  static char two_buffers[] = "OpenBLAS 0.3.21 USE_OPENMP Haswell MAX_THREADS=2";
  return claims("two-buffers") ? two_buffers : original<char*>("openblas_get_config");
}
