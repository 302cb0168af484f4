#include <cblas.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "cllm/kernels/blas.h"
#include "support/child_process.h"

namespace cllm::kernels {
namespace {

constexpr const char* kDynamic = "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY USE_OPENMP";
constexpr const char* kStatic = "OpenBLAS 0.3.21 NO_LAPACKE NO_AFFINITY USE_OPENMP";
constexpr VectorUnits kNone = {};
constexpr VectorUnits kAvx2 = {.avx2 = true};
constexpr VectorUnits kAvx512 = {.avx2 = true, .avx512 = true};

std::optional<std::string> better(const char* core, const VectorUnits& units,
                                  const char* requested = nullptr,
                                  const char* description = kDynamic) {
  return better_blas_core(description, core, units, requested);
}

TEST(BlasCoreTest, AnUnknownProcessorGetsKernelsOfItsWidth) {
  for (const char* core : {"Prescott", "prescott", "PRESCOTT", "Unknown", "Nehalem", "Sandybridge",
                           "Opteron_SSE3", "Bulldozer", "Steamroller"}) {
    EXPECT_EQ(better(core, kAvx512), "SkylakeX") << core;
    EXPECT_EQ(better(core, kAvx2), "Haswell") << core;
    EXPECT_EQ(better(core, kNone), std::nullopt) << core;
  }
}

TEST(BlasCoreTest, AVX512WithoutAVX2IsNotToBeTrusted) {
  EXPECT_EQ(better("Prescott", {.avx2 = false, .avx512 = true}), std::nullopt);
}

// Also where the processor has more: an older version that takes Zen 4 for Zen has chosen.
TEST(BlasCoreTest, AChoiceWithAVX2Stands) {
  for (const char* core : {"Haswell", "Zen", "Excavator", "SkylakeX", "Cooperlake",
                           "Sapphirerapids", "a core of the future", "", "Prescott2", "Presc"}) {
    EXPECT_EQ(better(core, kAvx2), std::nullopt) << core;
    EXPECT_EQ(better(core, kAvx512), std::nullopt) << core;
  }
}

TEST(BlasCoreTest, TheEnvironmentStands) {
  for (const char* requested : {"Prescott", "SkylakeX", "Haswell", "no such core", ""}) {
    EXPECT_EQ(better("Prescott", kAvx512, requested), std::nullopt) << requested;
  }
}

TEST(BlasCoreTest, ABuildWithOneCoreHasNoOther) {
  EXPECT_EQ(better("Prescott", kAvx512, nullptr, kStatic), std::nullopt);
}

// What the main of these tests is for.
TEST(BlasCoreTest, TheseTestsRunWithTheBetterCore) { EXPECT_EQ(better_blas_core(), std::nullopt); }

// Run by the next test: what a program sees of itself.
TEST(BlasCoreTest, DISABLED_SaysWhatItIs) {
  const char* requested = std::getenv("OPENBLAS_CORETYPE");
  std::string name;
  std::getline(std::ifstream("/proc/self/comm"), name);
  std::cout << "core " << openblas_get_corename() << '\n'
            << "requested " << (requested == nullptr ? "nothing" : requested) << '\n'
            << "arguments " << testing::internal::GetArgvs().size() << '\n'
            << "name " << name << std::endl;
}

TEST(BlasCoreTest, AProgramRestartsOnceAndStaysItself) {
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  // The variable is taken away, so that the child starts as a user's program does.
  support::ChildProcess child(
      {"env", "-u", "OPENBLAS_CORETYPE", self.string(), "--gtest_also_run_disabled_tests",
       "--gtest_filter=BlasCoreTest.DISABLED_SaysWhatItIs", "an argument with spaces"},
      ".");
  const support::ChildResult result = child.wait(60);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, testing::HasSubstr("arguments 4\n"));
  EXPECT_THAT(result.out, testing::HasSubstr("name " + self.filename().string().substr(0, 15)));
  // Either OpenBLAS knows the processor, or what was requested is what it took.
  if (result.out.find("requested nothing") == std::string::npos) {
    EXPECT_THAT(result.out, testing::ContainsRegex("core (SkylakeX|Haswell)\nrequested"));
  }
}

// Restarting is for main alone, but where there is nothing better it may be called at any time.
TEST(BlasCoreTest, NothingToDoReturns) {
  char* argv[] = {nullptr};
  EXPECT_EQ(restart_with_better_blas_core(argv), std::nullopt);
}

}  // namespace
}  // namespace cllm::kernels
