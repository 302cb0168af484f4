#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cllm/base/error.h"
#include "cllm/kernels/kernels.h"

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
  EXPECT_STREQ(select_kernels().name, has_avx2() ? "avx2" : "portable");
}

TEST_F(SelectionTest, TheEnvironmentForcesAnImplementation) {
  setenv("CLLM_KERNELS", "portable", 1);
  EXPECT_EQ(&select_kernels(), &portable_kernels());
  setenv("CLLM_KERNELS", "avx2", 1);
  if (has_avx2()) {
    EXPECT_EQ(&select_kernels(), &avx2_kernels());
  } else {
    EXPECT_THROW(select_kernels(), Error);
  }
}

TEST_F(SelectionTest, AnUnknownNameIsRefused) {
  for (const char* name : {"avx512", "AVX2", ""}) {
    setenv("CLLM_KERNELS", name, 1);
    EXPECT_THAT([] { select_kernels(); },
                ::testing::ThrowsMessage<Error>(::testing::HasSubstr("CLLM_KERNELS")));
  }
}

TEST_F(SelectionTest, NoEntryIsMissing) {
  // The table is a struct of pointers and nothing else.
  constexpr std::size_t kPointers = sizeof(Kernels) / sizeof(void*);
  const auto missing = [](const Kernels& kernels) {
    void* entries[kPointers];
    std::memcpy(entries, &kernels, sizeof(entries));
    return std::count(entries, entries + kPointers, nullptr);
  };
  EXPECT_EQ(missing(portable_kernels()), 0);
  if (has_avx2()) {
    EXPECT_EQ(missing(avx2_kernels()), 0);
  }
  Kernels incomplete = portable_kernels();
  incomplete.adamw = nullptr;
  EXPECT_EQ(missing(incomplete), 1);
}

}  // namespace
}  // namespace cllm::kernels
