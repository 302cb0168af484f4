#include "allocations.h"

#include <cstdlib>
#include <new>

std::atomic<long> cllm::mpi::allocations = 0;

[[gnu::noinline]] void* operator new(std::size_t size) {
  cllm::mpi::allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* block = std::malloc(size)) return block;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
