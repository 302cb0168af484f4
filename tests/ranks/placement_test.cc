#include "cllm/ranks/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cllm/base/error.h"

namespace cllm::ranks {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

const std::vector<int> kFour = {0, 1, 2, 3};

TEST(Placement, RanksShareTheProcessorsTheyMayRunOn) {
  EXPECT_THAT(threads_of({{"a", kFour}}), ElementsAre(4));
  EXPECT_THAT(threads_of({{"a", kFour}, {"a", kFour}}), ElementsAre(2, 2));
  EXPECT_THAT(threads_of({{"a", kFour}, {"b", kFour}}), ElementsAre(4, 4));
  EXPECT_THAT(threads_of({{"a", kFour}, {"a", kFour}, {"a", kFour}}), ElementsAre(1, 1, 1));
  EXPECT_THAT(threads_of({{"a", {0, 1}}, {"a", {2, 3}}}), ElementsAre(2, 2));
  EXPECT_THAT(threads_of({{"a", {0}}, {"a", {0}}}), ElementsAre(1, 1));
  EXPECT_THAT(threads_of({{"a", kFour, 3}, {"a", kFour}}), ElementsAre(3, 2));
}

TEST(Placement, SaysWhatIsLikelyToBeSlow) {
  EXPECT_THAT(placement_warnings({{"a", kFour, 2}, {"a", kFour, 2}}), IsEmpty());
  EXPECT_THAT(placement_warnings({{"a", {0, 1}, 2}, {"a", {2, 3}, 2}}), IsEmpty());
  EXPECT_THAT(placement_warnings({{"a", {0}, 1}, {"a", {0}, 1}}),
              ElementsAre(HasSubstr("host a: 2 ranks with 2 threads in all share 1 processor;")));
  EXPECT_THAT(placement_warnings({{"a", kFour, 2}, {"b", {0}, 4}}),
              ElementsAre(HasSubstr("rank 1 has 4 threads on the one processor")));
  EXPECT_THAT(placement_warnings({{"a", kFour, 4}, {"a", kFour, 4}}),
              ElementsAre(HasSubstr("host a: 2 ranks with 8 threads")));
}

TEST(Placement, RanksOnTheSameProcessorsAreSeenWhereOthersIdle) {
  const std::vector<int> pair = {0, 1}, others = {2, 3, 4, 5};
  EXPECT_THAT(placement_warnings({{"a", pair, 2}, {"a", others, 2}, {"a", pair, 2}}),
              ElementsAre(HasSubstr("host a: 2 ranks with 4 threads in all share 2 processors;")));
  EXPECT_THAT(placement_warnings({{"a", pair, 1}, {"a", others, 4}, {"a", pair, 1}}), IsEmpty());
  // The third has a processor of each of the others.
  EXPECT_THAT(placement_warnings({{"a", {0, 1}, 2}, {"a", {2, 3}, 2}, {"a", {1, 2}, 1}}),
              ElementsAre(HasSubstr("host a: 3 ranks with 5 threads in all share 4 processors;")));
}

/// A rank that the launcher bound to `processors` of eight, in four cores of two sockets.
Site bound(const std::vector<int>& processors, bool by_default = true, double quota = 0) {
  return {.host = "a",
          .processors = processors,
          .quota = quota,
          .permitted = {0, 1, 2, 3, 4, 5, 6, 7},
          .is_bound_by_default = by_default,
          .remedy = "mpirun --bind-to none"};
}
const std::vector<std::vector<int>> kCores = {{0, 4}, {2, 6}, {1, 5}, {3, 7}};

TEST(Placement, ADefaultBindingThatLeavesProcessorsIdleIsWidened) {
  EXPECT_THAT(fair_share({bound({0, 4})}, 0, kCores), ElementsAre(0, 4, 2, 6, 1, 5, 3, 7));
  const std::vector<Site> two = {bound({0, 4}), bound({2, 6})};
  EXPECT_THAT(fair_share(two, 0, kCores), ElementsAre(0, 4, 2, 6));
  EXPECT_THAT(fair_share(two, 1, kCores), ElementsAre(1, 5, 3, 7));
  // Three ranks that the launcher bound to one of the sockets.
  const std::vector<Site> three(3, bound({0, 2, 4, 6}));
  EXPECT_THAT(fair_share(three, 0, kCores), ElementsAre(0, 4));
  EXPECT_THAT(fair_share(three, 1, kCores), ElementsAre(2, 6));
  EXPECT_THAT(fair_share(three, 2, kCores), ElementsAre(1, 5, 3, 7));
  // More ranks than cores.
  EXPECT_THAT(fair_share(std::vector<Site>(5, bound({0, 4})), 4, kCores), ElementsAre(3, 7));
}

TEST(Placement, ABindingThatIsMeantOrUsesAllIsLeftAlone) {
  EXPECT_THAT(fair_share({bound({0, 4}, false)}, 0, kCores), IsEmpty());
  EXPECT_THAT(fair_share({bound({0, 4}), bound({2, 6}, false)}, 0, kCores), IsEmpty());
  EXPECT_THAT(fair_share({bound({0, 2, 4, 6}), bound({1, 3, 5, 7})}, 0, kCores), IsEmpty());
  // Two processors are all that the quota has time for.
  EXPECT_THAT(fair_share({bound({0, 4}, true, 2)}, 0, kCores), IsEmpty());
  EXPECT_EQ(fair_share({bound({0, 4}, true, 3)}, 0, kCores).size(), 8u);
  // A launcher that binds outside of its own processors.
  Site outside = bound({0});
  outside.permitted = {1};
  EXPECT_THAT(fair_share({outside}, 0, {{1}}), ElementsAre(1));
}

TEST(Placement, RanksShareAQuota) {
  Site site{"a", kFour};
  site.quota = 2.5;
  EXPECT_THAT(threads_of({site}), ElementsAre(2));
  EXPECT_THAT(threads_of({site, site}), ElementsAre(1, 1));
  site.quota = 0.5;
  EXPECT_THAT(threads_of({site}), ElementsAre(1));
  site.threads = 3;
  EXPECT_THAT(threads_of({site}), ElementsAre(3));
  EXPECT_THAT(placement_warnings({site}),
              ElementsAre(HasSubstr("host a: 3 threads in all share the time of 0.5 processors")));
  EXPECT_THAT(placement_notes({site}),
              ElementsAre(HasSubstr("host a: the control group gives ranks the time of 0.5 of 4")));
}

TEST(Placement, SaysWhatLimitsProcessorsAndWhatWasDone) {
  EXPECT_THAT(placement_notes({{"a", kFour, 4}}), IsEmpty());
  EXPECT_THAT(placement_notes({bound({0, 4}, false)}),
              ElementsAre("host a: ranks may run on 2 of 8 processors; mpirun --bind-to none gives "
                          "them more"));
  Site widened = bound({0, 1, 2, 3, 4, 5, 6, 7});
  widened.bound_to = 2;
  Site other = widened;
  other.host = "b";
  EXPECT_THAT(placement_notes({widened, other}),
              ElementsAre(HasSubstr("host a and 1 more: the launcher bound a rank to 2 of 8 ")));
}

Site with(const std::string& host, const std::string& model, const std::string& products,
          const std::string& kernels = "avx2") {
  return {.host = host,
          .processors = kFour,
          .threads = 4,
          .model = model,
          .kernels = kernels,
          .products = products,
          .memory = 64'000'000'000};
}

TEST(Placement, MixedProcessorsAreSaidWhereTheyMayRoundDifferently) {
  const std::string zen = "OpenBLAS 1 Zen", haswell = "OpenBLAS 1 Haswell", own = "avx2 products";
  EXPECT_EQ(mixture_warning({with("a", "X", zen), with("b", "X", zen)}), "");
  EXPECT_EQ(mixture_warning({with("a", "X", own), with("b", "Y", "avx512 products")}), "");
  EXPECT_THAT(
      mixture_warning({with("a", "X", zen), with("b", "Y", zen)}),
      HasSubstr("rank 1 (host b) with Y with OpenBLAS 1 Zen, rank 0 (host a) with X with "));
  EXPECT_THAT(mixture_warning({with("a", "X", zen), with("b", "X", zen), with("c", "X", haswell)}),
              AllOf(HasSubstr("rank 2 (host c) with X with OpenBLAS 1 Haswell, rank 0 "),
                    HasSubstr("without --products openblas")));
  EXPECT_THAT(mixture_warning({with("a", "X", own), with("b", "X", zen)}),
              HasSubstr("rank 1 (host b) with X with OpenBLAS 1 Zen, rank 0 "));
}

TEST(Placement, DifferentKernelsAreRefused) {
  EXPECT_NO_THROW(require_same_kernels({with("a", "X", "Zen"), with("b", "Y", "Core2")}));
  EXPECT_NO_THROW(require_same_kernels({with("a", "X", "Z"), with("b", "Y", "Z", "avx512")}));
  EXPECT_THAT(
      [] {
        require_same_kernels({with("a", "X", "Z"), with("b", "X", "Z", "reference")});
      },
      ThrowsMessage<Error>(
          HasSubstr("rank 1 (host b) computes with the reference kernels, and rank 0 (host "
                    "a) with avx2, which round otherwise;")));
}

TEST(Placement, ATableHasALineForHostsThatAreAlike) {
  std::vector<Site> sites = {with("a", "X", "Zen"), with("a", "X", "Zen"), with("b", "X", "Zen"),
                             with("b", "X", "Zen"), with("c", "Y", "Haswell")};
  EXPECT_THAT(
      site_table(sites),
      ElementsAre("host     ranks  threads each  processors  memory  kind of processor",
                  "a and b      2             4           4   64 GB  X; avx2 kernels; Zen",
                  "c            1             4           4   64 GB  Y; avx2 kernels; Haswell"));
  sites[3].threads = 2;
  sites[4].memory = 300'000'000;
  EXPECT_THAT(site_table(sites),
              ElementsAre(_, HasSubstr("a         2             4 "),
                          HasSubstr("b         2           2-4 "), HasSubstr(" 0.3 GB  Y; ")));
}

TEST(Placement, GathersSites) {
  SingleProcess solo;
  const std::vector<Site> sites = gather_sites({"here", kFour, 0}, solo);
  ASSERT_EQ(sites.size(), 1u);
  EXPECT_EQ(sites[0].host, "here");
  EXPECT_EQ(sites[0].processors, kFour);
  EXPECT_EQ(sites[0].threads, 4);
}

}  // namespace
}  // namespace cllm::ranks
