#pragma once

#include <omp.h>

#include "cllm/base/error.h"

// Note [Thread sanitizer and OpenMP]
// GCC's OpenMP runtime is not built for the thread sanitizer, which therefore does not see that a
// region's threads begin after their caller and end before it goes on. `parallel` says so itself,
// and every parallel region of the engine goes through it. One thing it can't say: the compiler
// hands the region's variables over in a block that is written after all that stands here; reading
// that block is what scripts/tsan.supp is for.
#ifdef __SANITIZE_THREAD__
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace cllm {

namespace internal {
inline char region_begins, region_ends;  // addresses that stand for the two events

inline void acquire([[maybe_unused]] char& event) {
#ifdef __SANITIZE_THREAD__
  __tsan_acquire(&event);
#endif
}
inline void release([[maybe_unused]] char& event) {
#ifdef __SANITIZE_THREAD__
  __tsan_release(&event);
#endif
}
}  // namespace internal

/// Runs work(0) … work(threads - 1), each on an OpenMP thread of its own, all at once, so that they
/// may wait for each other. `work` must not throw. Throws Error where the runtime has not so many
/// threads to give; nothing was run then.
template <typename Work>
void parallel(int threads, const Work& work) {
  if (threads == 1) return work(0);  // the runtime would allocate a team for a region of one
  int given = threads;
  internal::release(internal::region_begins);
#pragma omp parallel num_threads(threads)
  {
    internal::acquire(internal::region_begins);
    if (omp_get_num_threads() == threads) {
      work(omp_get_thread_num());
    } else if (omp_get_thread_num() == 0) {
      given = omp_get_num_threads();
    }
    internal::release(internal::region_ends);
  }
  internal::acquire(internal::region_ends);
  if (given != threads) {
    fail(
        "OpenMP gives {} threads where {} were asked for; unset OMP_THREAD_LIMIT and OMP_DYNAMIC, "
        "or give fewer --threads",
        given, threads);
  }
}

}  // namespace cllm
