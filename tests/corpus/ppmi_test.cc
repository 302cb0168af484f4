#include "cllm/corpus/ppmi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/error_of.h"
#include "support/reference_cooccurrence.h"

namespace cllm::corpus {
namespace {

constexpr std::size_t kVocabulary = 40;

std::vector<std::uint64_t> totals_of(std::span<const std::uint64_t> counts) {
  std::vector<std::uint64_t> totals(kVocabulary);
  for (std::size_t i = 0; i < counts.size(); ++i) totals[i / kVocabulary] += counts[i];
  return totals;
}

double log_of(std::uint64_t count) { return std::log(static_cast<double>(count)); }

TEST(PpmiTest, IsWhatItsFormulaSays) {
  const std::vector<std::uint32_t> tokens = support::uneven_tokens(800, kVocabulary, 1);
  const auto counts = support::reference_cooccurrence(tokens, kVocabulary, 4);
  for (const double smoothing : {0.0, 0.75, 1.0}) {
    const Ppmi ppmi(totals_of(counts), smoothing);
    const auto reference = support::reference_ppmi(counts, kVocabulary, smoothing);
    std::size_t positive = 0, dropped = 0;
    for (std::size_t i = 0; i < kVocabulary; ++i) {
      for (std::size_t j = 0; j < kVocabulary; ++j) {
        const std::uint64_t count = counts[i * kVocabulary + j];
        if (count == 0) continue;
        const float value = ppmi(i, j, log_of(count));
        const double exact = reference[i * kVocabulary + j];
        // Rounded once to float, after a handful of operations on logarithms below 2^6 in double,
        // whose rounding counts as nothing.
        EXPECT_NEAR(value, exact, 0x1p-24 * exact + 0x1p-40);
        ++(value > 0 ? positive : dropped);
        if (smoothing == 1) {
          EXPECT_NEAR(value, ppmi(j, i, log_of(count)), 0x1p-23 * exact + 0x1p-40);
        }
      }
    }
    EXPECT_GT(positive, 100u);
    EXPECT_GT(dropped, 10u);
  }
}

TEST(PpmiTest, TwoTokensSideBySide) {
  // n_01 = n_10 = 1 of 2, so log(1 · 2 / (1 · 1)) whatever the power.
  const std::vector<std::uint64_t> totals = {1, 1};
  EXPECT_FLOAT_EQ(Ppmi(totals, 0.75)(0, 1, 0), std::log(2.0f));
}

TEST(PpmiTest, OneTokenSaysNothingOfItself) {
  for (std::uint64_t total = 2; total < 5000; ++total) {
    const std::vector<std::uint64_t> totals = {total};
    for (const double power : {0.5, 0.75, 1.0}) {
      ASSERT_EQ(Ppmi(totals, power)(0, 0, log_of(total)), 0) << total;
    }
  }
}

TEST(PpmiTest, RefusesPowersOutOfRange) {
  const std::vector<std::uint64_t> totals = {1};
  for (const double power : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(support::error_of([&] { Ppmi(totals, power); }), testing::HasSubstr("give 0 to 1"));
  }
}

}  // namespace
}  // namespace cllm::corpus
