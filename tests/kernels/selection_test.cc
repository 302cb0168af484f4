#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cllm/base/error.h"
#include "cllm/kernels/blas.h"
#include "cllm/kernels/implementations.h"

namespace cllm::kernels {
namespace {

class SelectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* before = std::getenv("CLLM_KERNELS"); before != nullptr) {
      before_ = before;
    }
    unsetenv("CLLM_KERNELS");
  }
  void TearDown() override {
    if (before_.empty()) {
      unsetenv("CLLM_KERNELS");
    } else {
      setenv("CLLM_KERNELS", before_.c_str(), 1);
    }
  }

 private:
  std::string before_;
};

TEST_F(SelectionTest, TakesTheFastestImplementation) {
  const char* const fastest = vector_units().avx512 ? "avx512" : has_avx2() ? "avx2" : "portable";
  EXPECT_STREQ(select_kernels().name, fastest);
}

TEST_F(SelectionTest, TheEnvironmentForcesAnImplementation) {
  setenv("CLLM_KERNELS", "reference", 1);
  EXPECT_EQ(&select_kernels(), &reference_kernels());
  setenv("CLLM_KERNELS", "portable", 1);
  EXPECT_STREQ(select_kernels().name, "portable");
  setenv("CLLM_KERNELS", "avx2", 1);
  if (has_avx2()) {
    EXPECT_EQ(&select_kernels(), &find_kernels("avx2"));
  } else {
    EXPECT_THROW(select_kernels(), Error);
  }
}

TEST_F(SelectionTest, AnUnknownNameIsRefused) {
  for (const char* name : {"avx1024", "AVX2", ""}) {
    setenv("CLLM_KERNELS", name, 1);
    EXPECT_THAT([] { select_kernels(); },
                ::testing::ThrowsMessage<Error>(::testing::HasSubstr("CLLM_KERNELS")));
  }
}

TEST_F(SelectionTest, NoEntryIsMissing) {
  // But for `has_fixed_order`, the table is a struct of pointers.
  constexpr std::size_t kPointers = sizeof(Kernels) / sizeof(void*);
  const auto missing = [](const Kernels& kernels) {
    void* entries[kPointers];
    Kernels copy = kernels;
    copy.has_fixed_order = true;
    std::memcpy(entries, &copy, sizeof(entries));
    return std::count(entries, entries + kPointers, nullptr);
  };
  for (const Kernels* kernels : runnable_kernels()) EXPECT_EQ(missing(*kernels), 0);
  Kernels incomplete = reference_kernels();
  incomplete.adamw = nullptr;
  EXPECT_EQ(missing(incomplete), 1);
}

}  // namespace
}  // namespace cllm::kernels
