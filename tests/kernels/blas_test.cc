#include "cllm/kernels/blas.h"

#include <cblas.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <limits>
#include <thread>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "kernels/implementations.h"

namespace cllm::kernels {
namespace {

TEST(BlasTest, ProductsInDouble) {
  constexpr std::size_t kM = 3, kN = 4, kK = 5, kLd = 7;
  const Array random = normal_array(3 * kLd * kLd, 1, 1);
  const std::vector<double> a(random.begin(), random.begin() + kLd * kLd);
  const std::vector<double> b(random.begin() + kLd * kLd, random.begin() + 2 * kLd * kLd);
  const std::vector<double> before(random.begin() + 2 * kLd * kLd, random.end());
  for (const Transpose transpose_a : {Transpose::kNo, Transpose::kYes}) {
    for (const Transpose transpose_b : {Transpose::kNo, Transpose::kYes}) {
      std::vector<double> c = before;
      dgemm(transpose_a, transpose_b, kM, kN, kK, 2, a.data(), kLd, b.data(), kLd, 3, c.data(),
            kLd);
      for (std::size_t i = 0; i < kLd; ++i) {
        for (std::size_t j = 0; j < kLd; ++j) {
          double expected = before[i * kLd + j];
          if (i < kM && j < kN) {
            expected *= 3;
            for (std::size_t k = 0; k < kK; ++k) {
              expected += 2 * (transpose_a == Transpose::kYes ? a[k * kLd + i] : a[i * kLd + k]) *
                          (transpose_b == Transpose::kYes ? b[j * kLd + k] : b[k * kLd + j]);
            }
          }
          EXPECT_NEAR(c[i * kLd + j], expected, 0x1p-46);  // a dozen roundings of numbers below 2^4
        }
      }
    }
  }
}

double seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The processor time that threads other than the caller spend on a product, as a share of all.
double share_of_other_threads() {
  constexpr std::size_t kSize = 640;
  const std::vector<double> a(kSize * kSize, 0.5);
  std::vector<double> c(kSize * kSize);
  const auto multiply = [&] {
    dgemm(Transpose::kNo, Transpose::kNo, kSize, kSize, kSize, 1, a.data(), kSize, a.data(), kSize,
          0, c.data(), kSize);
  };
  multiply();
  const double all = seconds(CLOCK_PROCESS_CPUTIME_ID);
  const double mine = seconds(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < 8; ++i) {
    multiply();
  }
  const double all_spent = seconds(CLOCK_PROCESS_CPUTIME_ID) - all;
  return 1 - (seconds(CLOCK_THREAD_CPUTIME_ID) - mine) / all_spent;
}

TEST(BlasTest, PreparedBlasKeepsToItsCaller) {
  if (available_processors().size() > 1) {
    // What is to be prevented, so that the measurement is known to see it.
    openblas_set_num_threads(2);
    EXPECT_GT(share_of_other_threads(), 0.2);
  }
  prepare_blas(1);
  EXPECT_EQ(openblas_get_num_threads(), 1);
  // Workers of the call before may spin for a moment; a share of 0.5 would be a second thread.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(share_of_other_threads(), 0.05);
}

TEST(BlasTest, RefusesMoreCallersThanBuffers) {
  EXPECT_NO_THROW(prepare_blas(64));
  EXPECT_THAT([] { prepare_blas(65); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("--threads 65")));
}

TEST(BlasTest, DescribesItself) {
  EXPECT_THAT(blas_description(), ::testing::HasSubstr("OpenBLAS"));
  EXPECT_THAT(blas_description(), ::testing::HasSubstr(openblas_get_corename()));
}

}  // namespace
}  // namespace cllm::kernels
