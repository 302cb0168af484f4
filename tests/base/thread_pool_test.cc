#include "cllm/base/thread_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace cllm {
namespace {

TEST(ThreadPoolTest, DealsEveryTaskOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const std::size_t count : {0U, 1U, 3U, 1000U}) {
      std::vector<std::atomic<int>> done(count);
      std::atomic<bool> is_of_pool = true;
      pool.deal(count, [&](std::size_t i, std::size_t thread) {
        ++done[i];
        if (thread >= static_cast<std::size_t>(threads)) is_of_pool = false;
      });
      EXPECT_THAT(std::vector<int>(done.begin(), done.end()), testing::Each(1));
      EXPECT_TRUE(is_of_pool);
    }
  }
}

}  // namespace
}  // namespace cllm
