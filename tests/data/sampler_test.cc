#include "cllm/data/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>
#include <vector>

#include "cllm/base/error.h"
#include "support/environment.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;

using testing::HasSubstr;

TEST(WindowSampler, EveryEpochReadsEveryWindowOnce) {
  for (const std::uint64_t context : {1U, 7U, 64U}) {
    for (const std::uint64_t tokens :
         {context + 1, 2 * context, 3 * context + 1, 1000 * context + 3, 4096 * context + context,
          65 * context + context / 2}) {
      if (tokens < context + 1) continue;
      const WindowSampler sampler(11, tokens, context);
      const std::uint64_t windows = sampler.windows_per_epoch();
      // At most two windows' worth is left out.
      EXPECT_GE((windows + 2) * context, tokens - 1);
      for (const std::uint64_t epoch : {0U, 1U, 2U, 1000003U}) {
        std::set<std::uint64_t> starts;
        for (std::uint64_t i = 0; i < windows; ++i) {
          const std::uint64_t start = sampler.start(epoch * windows + i);
          EXPECT_LT(start + context, tokens);
          starts.insert(start);
          EXPECT_EQ(sampler.epoch_of(epoch * windows + i), epoch);
        }
        // As many different starts as windows, end to end from the first: none twice, no gap.
        ASSERT_EQ(starts.size(), windows) << tokens << " tokens, context " << context;
        EXPECT_EQ(*starts.rbegin() - *starts.begin(), (windows - 1) * context);
        for (const std::uint64_t start : starts) {
          EXPECT_EQ((start - *starts.begin()) % context, 0u);
        }
      }
    }
  }
}

TEST(WindowSampler, IsAPureFunctionOfSeedAndIndex) {
  const WindowSampler a(5, 1'000'000, 128), b(5, 1'000'000, 128), other(6, 1'000'000, 128);
  int same = 0;
  // The second sampler is asked backwards, and far into the future first.
  const std::uint64_t far = std::uint64_t{1'000'000'000} * 512;
  EXPECT_LT(b.start(far) + 128, 1'000'000u);
  EXPECT_EQ(a.start(far), b.start(far));
  for (std::uint64_t i = 5000; i-- > 0;) {
    EXPECT_EQ(a.start(i), b.start(i));
    same += a.start(i) == other.start(i);
  }
  // Another seed agrees by chance alone: 5000 draws from about 10^6 places.
  EXPECT_LT(same, 5);
}

TEST(WindowSampler, ServesTheLargestCorporaAndSteps) {
  const std::uint64_t tokens = std::uint64_t{1} << 43, context = 2048;
  const WindowSampler sampler(1, tokens, context);
  for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    EXPECT_LT(sampler.start(index) + context, tokens);
  }
}

TEST(WindowSampler, BordersShiftBetweenEpochs) {
  const std::uint64_t context = 64;
  const WindowSampler sampler(3, 10'000, context);
  std::set<std::uint64_t> phases;
  for (std::uint64_t epoch = 0; epoch < 640; ++epoch) {
    phases.insert(sampler.start(epoch * sampler.windows_per_epoch()) % context);
  }
  // Of 64 phases drawn 640 times, one stays out with probability 64 * (63/64)^640 = 0.3 %; the seed
  // is fixed, and it has them all.
  EXPECT_EQ(phases.size(), context);
}

/// The chi-square statistic of counts against their mean, and the bound that it exceeds with
/// probability below 1e-6 (Wilson and Hilferty's approximation at z = 4.75).
double chi_square(const std::vector<int>& counts) {
  double mean = 0, sum = 0;
  for (const int count : counts) mean += count / static_cast<double>(counts.size());
  for (const int count : counts) sum += (count - mean) * (count - mean) / mean;
  return sum;
}
double chi_square_bound(std::size_t cells) {
  const double degrees = static_cast<double>(cells - 1), part = 2 / (9 * degrees);
  return degrees * std::pow(1 - part + 4.75 * std::sqrt(part), 3);
}

/// How often window k is read as number i of an epoch, for all (i, k); and how often window k
/// directly follows window j, for all j != k. The counts of one epoch depend on each other, so the
/// statistic is only nearly chi-square distributed; the far quantile leaves room for that.
struct Counts {
  std::vector<int> places, pairs;
};
template <typename WindowOf>
Counts count(std::uint64_t windows, std::uint64_t epochs, WindowOf window_of) {
  Counts counts{std::vector<int>(windows * windows), std::vector<int>(windows * (windows - 1))};
  for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
    std::uint64_t before = windows;
    for (std::uint64_t i = 0; i < windows; ++i) {
      const std::uint64_t window = window_of(epoch, i);
      ++counts.places[i * windows + window];
      if (i > 0) ++counts.pairs[before * (windows - 1) + window - (window > before ? 1 : 0)];
      before = window;
    }
  }
  return counts;
}

TEST(WindowSampler, OrdersAreUniform) {
  const std::uint64_t epochs = support::count_from_environment("CLLM_SAMPLER_EPOCHS", 20'000);
  for (const std::uint64_t windows : {2U, 3U, 5U, 10U, 16U, 23U}) {
    const std::uint64_t context = 8;
    const WindowSampler sampler(77, (windows + 1) * context, context);
    ASSERT_EQ(sampler.windows_per_epoch(), windows);
    const Counts counts = count(windows, epochs, [&](std::uint64_t epoch, std::uint64_t i) {
      return sampler.start(epoch * windows + i) / context;  // the offset is below the context
    });
    EXPECT_LT(chi_square(counts.places), chi_square_bound(counts.places.size())) << windows;
    EXPECT_LT(chi_square(counts.pairs), chi_square_bound(counts.pairs.size())) << windows;
  }
}

TEST(WindowSampler, TheUniformityTestSeesAPoorOrder) {
  const std::uint64_t windows = 10;
  // A rotation by the epoch's number puts each window everywhere equally often, but keeps pairs.
  const Counts rotated = count(
      windows, 20'000, [&](std::uint64_t epoch, std::uint64_t i) { return (epoch + i) % windows; });
  EXPECT_LT(chi_square(rotated.places), chi_square_bound(windows * windows));
  EXPECT_GT(chi_square(rotated.pairs), chi_square_bound(windows * (windows - 1)));
  const Counts fixed =
      count(windows, 20'000, [&](std::uint64_t, std::uint64_t i) { return windows - 1 - i; });
  EXPECT_GT(chi_square(fixed.places), chi_square_bound(windows * windows));
}

TEST(WindowSampler, RefusesTooFewTokens) {
  EXPECT_THAT(error_of([] { WindowSampler(1, 64, 64); }),
              testing::AllOf(HasSubstr("64 tokens"), HasSubstr("at least 65")));
  EXPECT_THAT(error_of([] { WindowSampler(1, 64, 0); }), HasSubstr("--context"));
  const WindowSampler one(1, 65, 64);
  EXPECT_EQ(one.windows_per_epoch(), 1u);
  EXPECT_EQ(one.start(0), 0u);
  EXPECT_EQ(one.start(12345), 0u);
}

TEST(EvaluationWindows, TargetsAreEveryTokenOnce) {
  for (const std::uint64_t context : {1U, 5U, 64U}) {
    for (std::uint64_t tokens = 2; tokens < 300; ++tokens) {
      const EvaluationWindows windows(tokens, context);
      std::uint64_t next = 0;
      for (std::uint64_t i = 0; i < windows.size(); ++i) {
        EXPECT_EQ(windows[i].start, next);
        EXPECT_GE(windows[i].targets, 1u);
        EXPECT_LE(windows[i].targets, context);
        next += windows[i].targets;
      }
      EXPECT_EQ(next, tokens - 1);
      EXPECT_EQ(windows.targets(), tokens - 1);
    }
  }
}

TEST(EvaluationWindows, SubsetsAreEvenlySpaced) {
  const std::uint64_t context = 8;
  for (const std::uint64_t tokens : {500U, 801U, 804U}) {
    const std::uint64_t all = EvaluationWindows(tokens, context).size();
    for (std::uint64_t n = 1; n <= all + 3; ++n) {
      const EvaluationWindows windows(tokens, context, n);
      ASSERT_EQ(windows.size(), std::min(n, all));
      std::uint64_t targets = 0;
      for (std::uint64_t i = 0; i < windows.size(); ++i) {
        EXPECT_EQ(windows[i].start % context, 0u);
        EXPECT_LT(windows[i].start + windows[i].targets, tokens);
        targets += windows[i].targets;
        if (i == 0) continue;
        const std::uint64_t gap = (windows[i].start - windows[i - 1].start) / context;
        EXPECT_GE(gap, all / windows.size());
        EXPECT_LE(gap, all / windows.size() + 1);
      }
      EXPECT_EQ(targets, windows.targets());
    }
  }
}

TEST(EvaluationWindows, RefusesTooFewTokens) {
  EXPECT_THAT(error_of([] { EvaluationWindows(1, 8); }), HasSubstr("at least 2"));
  EXPECT_THAT(error_of([] { EvaluationWindows(9, 0); }), HasSubstr("--context"));
}

}  // namespace
}  // namespace cllm::data
