#include "cllm/base/denormals.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "cllm/base/thread_pool.h"

namespace cllm {
namespace {

#ifdef __SSE2__
// In threads of their own, because other tests need denormals.
TEST(Denormals, AreThereUntilTheyAreFlushed) {
  std::thread([] {
    EXPECT_FALSE(flushes_denormals());
    flush_denormals();
    EXPECT_TRUE(flushes_denormals());
    std::thread([] { EXPECT_TRUE(flushes_denormals()); }).join();
  }).join();
  EXPECT_FALSE(flushes_denormals());
}

TEST(Denormals, AreFlushedInTheThreadsOfAPool) {
  std::thread([] {
    flush_denormals();
    constexpr int kThreads = 3;
    std::atomic<int> flushing = 0;
    ThreadPool(kThreads).run([&](int, Recorder&) { flushing += flushes_denormals(); });
    EXPECT_EQ(flushing, kThreads);
  }).join();
  std::atomic<int> flushing = 0;
  std::thread([&] {
    ThreadPool(3).run([&](int, Recorder&) { flushing += flushes_denormals(); });
  }).join();
  EXPECT_EQ(flushing, 0);
}
#endif

}  // namespace
}  // namespace cllm
