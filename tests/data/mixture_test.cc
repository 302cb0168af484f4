#include "cllm/data/mixture.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstddef>
#include <set>

#include "cllm/data/sequences.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

using Counts = std::vector<std::uint64_t>;

/// Counts sequences one by one, as nothing in `Mixture` does.
Counts counted(const Mixture& mixture, std::uint64_t end) {
  Counts counts(mixture.size());
  for (std::uint64_t n = 0; n < end; ++n) ++counts[mixture[n].source];
  return counts;
}

TEST(Mixture, SharesAreExactAndEachSourceIsReadInOrder) {
  for (const Counts& parts : {Counts{1}, Counts{7, 3}, Counts{5, 1, 4}, Counts{1, 1, 1, 1},
                              Counts{1, 1000, 1, 30}, Counts{999'999'937, 3, 2'000'000}}) {
    const Mixture mixture(parts);
    double sum = 0;
    for (const std::uint64_t part : parts) sum += static_cast<double>(part);
    Counts read(parts.size());
    for (std::uint64_t n = 0; n < 5000; ++n) {
      ASSERT_EQ(mixture.taken(n), read);
      for (std::size_t k = 0; k < parts.size(); ++k) {
        const double wanted = static_cast<double>(n) * static_cast<double>(parts[k]) / sum;
        ASSERT_LT(std::abs(static_cast<double>(read[k]) - wanted),
                  static_cast<double>(parts.size()));
      }
      const Mixture::Place place = mixture[n];
      ASSERT_EQ(place.index, read[place.source]++);
    }
  }
  EXPECT_THAT(counted(Mixture({7, 3}), 1000), ElementsAre(700, 300));
  EXPECT_THAT(counted(Mixture({5, 1, 4}), 1000), ElementsAre(500, 100, 400));
  // The checker sees another mixture.
  EXPECT_NE(counted(Mixture({7, 4}), 1000), (Counts{700, 300}));
}

TEST(Mixture, IsExactHoweverFarAndLarge) {
  const std::uint64_t whole = 1'000'000'000'000'000'000;
  const Mixture mixture({whole / 10 * 7 - 1, whole / 10 * 3 + 1});
  EXPECT_THAT(mixture.taken(whole), ElementsAre(whole / 10 * 7 - 1, whole / 10 * 3 + 1));
  EXPECT_THAT(mixture.taken(2 * whole), ElementsAre(whole / 5 * 7 - 2, whole / 5 * 3 + 2));
  EXPECT_THAT(error_of([&] { Mixture({~std::uint64_t{0}, 2}); }), HasSubstr("smaller weights"));
  EXPECT_THAT(error_of([&] { Mixture({1, 0}); }), HasSubstr("above 0"));
  EXPECT_THAT(error_of([&] { Mixture(Counts{}); }), HasSubstr("needs a source"));
}

TEST(Mixture, GoesOnWithOtherSharesBehindWhatWasRead) {
  const Mixture before({7, 3});
  const Counts read = before.taken(55);
  const Mixture after({1, 1}, 55, read);
  EXPECT_EQ(after.taken(55), read);
  Counts counts = read;
  for (std::uint64_t n = 55; n < 1055; ++n) {
    const Mixture::Place place = after[n];
    ASSERT_EQ(place.index, counts[place.source]++);
  }
  EXPECT_EQ(counts[0] - read[0], 500u);
}

TEST(DataSourceText, AWeightStandsBehindTheLastColon) {
  const support::ScratchDirectory scratch;
  const auto parsed = [](const std::string& text) {
    const DataSource source = parse_data_source(text);
    EXPECT_EQ(parse_data_source(to_string(source)).path, source.path);
    EXPECT_EQ(parse_data_source(to_string(source)).weight, source.weight);
    return std::pair(source.path, static_cast<double>(source.weight) / kWeightUnit);
  };
  using Source = std::pair<std::string, double>;
  EXPECT_EQ(parsed("a.txt"), Source("a.txt", 0));
  EXPECT_EQ(parsed("a.txt:0.7"), Source("a.txt", 0.7));
  EXPECT_EQ(parsed("a:b:30"), Source("a:b", 30));
  EXPECT_EQ(parsed("a:.5"), Source("a", 0.5));
  EXPECT_EQ(parsed("builtin:2"), Source("builtin", 2));
  EXPECT_EQ(parse_data_source("a:0.000000001").weight, 1u);
  // What is no number is of the path.
  for (const char* text : {"a:b", "a:1e3", "a:-1", "a:", ":5", "a:1.2.3", "a:0x1", "a:+1",
                           "a:1234567890", "a:0.1234567890", "a:."}) {
    EXPECT_EQ(parsed(text), Source(text, 0)) << text;
  }
  EXPECT_THAT(error_of([] { parse_data_source("a:0"); }), HasSubstr("weight above 0"));
  // A file may have such a name; with a weight there is no doubt.
  const std::string odd = scratch.write("notes:12", "x");
  EXPECT_EQ(parsed(odd), Source(odd, 0));
  EXPECT_EQ(parsed(odd + ":3"), Source(odd, 3));
  const std::string plain = scratch.write("notes", "x");
  EXPECT_EQ(parsed(odd), Source(plain, 12));
}

TEST(Sequences, EachSourceKeepsItsOwnOrder) {
  std::vector<std::uint32_t> a(300), b(90);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<std::uint32_t>(i);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<std::uint32_t>(1000 + i);
  const TokenView in_a{std::span<const std::uint32_t>(a)}, in_b{std::span<const std::uint32_t>(b)};
  constexpr std::size_t kContext = 8;
  const WindowSampler order_a(5, a.size(), kContext), order_b(5, b.size(), kContext);
  const Sequences alone_a(in_a, order_a), alone_b(in_b, order_b);
  const auto source = [](const TokenView& tokens, const WindowSampler& order) {
    return Sequences::Source{{tokens}, std::make_shared<WindowSampler>(order)};
  };
  const Sequences mixed({source(in_a, order_a), source(in_b, order_b)}, Mixture({2, 1}));
  EXPECT_EQ(mixed.per_epoch(), alone_a.per_epoch() + alone_b.per_epoch());
  std::vector<std::uint32_t> inputs(kContext), targets(kContext), own(kContext), own_targets = own;
  Counts read(2);
  for (std::uint64_t n = 0; n < 300; ++n) {
    mixed.read(n, {inputs.data(), targets.data()});
    const std::size_t from = inputs[0] >= 1000 ? 1 : 0;
    const Sequences& alone = from == 0 ? alone_a : alone_b;
    alone.read(read[from]++, {own.data(), own_targets.data()});
    ASSERT_EQ(inputs, own);
    ASSERT_EQ(targets, own_targets);
    mixed.read_inputs(n, own.data());
    ASSERT_EQ(inputs, own);
    ASSERT_EQ(targets[0], inputs[1]);
  }
  EXPECT_THAT(read, ElementsAre(200, 100));
  EXPECT_THAT(error_of([&] {
                Sequences({source(in_a, order_a)}, Mixture({2, 1}));
              }),
              HasSubstr("a share to each"));
}

}  // namespace
}  // namespace cllm::data
