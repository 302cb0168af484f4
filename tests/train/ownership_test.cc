#include "cllm/train/ownership.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "cllm/train/adamw.h"
#include "cllm/train/matrix_deal.h"
#include "cllm/train/muon.h"
#include "support/training_bench.h"
#include "support/variants.h"

namespace cllm::train {
namespace {

/// Wide enough for several buckets.
constexpr model::ModelConfig kWide{
    .layers = 2, .heads = 2, .channels = 160, .context = 8, .vocabulary = 1701};

std::vector<support::Variant> variants() {
  std::vector<support::Variant> variants;
  for (const support::Variant& variant : support::all_variants(support::kSmallModel)) {
    variants.push_back(variant);
  }
  for (const support::Variant& family : support::all_families(kWide)) {
    variants.push_back({family.name + "_wide", family.config});
    variants.push_back({family.name + "_wide_bands", support::with_bands(family.config)});
  }
  return variants;
}

/// Who owns each element, or -1; fails where two do.
std::vector<int> owners(const model::Layout& layout, const std::vector<Bucket>& buckets,
                        bool (*keeps_whole)(model::Role), int ranks) {
  std::vector<int> owners(layout.flat_size(), -1);
  for (int rank = 0; rank < ranks; ++rank) {
    const Ownership ownership(layout, buckets, keeps_whole, ranks, rank);
    for (std::size_t tensor = 0; tensor < layout.tensors().size(); ++tensor) {
      const ranks::Part own = ownership.own(tensor);
      for (std::size_t i = own.offset; i < own.offset + own.size; ++i) {
        EXPECT_EQ(owners[i], -1) << layout[tensor].name;
        owners[i] = rank;
      }
    }
  }
  return owners;
}

class OwnershipOf : public testing::TestWithParam<support::Variant> {};
INSTANTIATE_TEST_SUITE_P(Variants, OwnershipOf, testing::ValuesIn(variants()),
                         support::NameOfParameter());

TEST_P(OwnershipOf, GivesEachTrainedElementOneOwnerAndRowsAndMatricesWhole) {
  const model::Layout layout(GetParam().config);
  const model::Tiling tiling(layout);
  const std::vector<Bucket> buckets = buckets_of(layout, tiling);
  for (const OptimizerKind& kind : {AdamW::kKind, Muon::kKind}) {
    for (const int ranks : {3, 33}) {
      const std::vector<int> of = owners(layout, buckets, kind.keeps_whole, ranks);
      for (const model::Tensor& tensor : layout.tensors()) {
        const std::size_t width = tensor.is_matrix() ? tensor.columns : tensor.size();
        for (std::size_t i = 0; i < tensor.size(); ++i) {
          const std::size_t at = tensor.offset + i;
          ASSERT_EQ(of[at] >= 0, tensor.is_trained) << tensor.name;
          if (i % width == 0) continue;
          ASSERT_EQ(of[at], of[at - 1]) << tensor.name;
        }
      }
      for (const HiddenMatrix& matrix : hidden_matrices(layout)) {
        if (!kind.keeps_whole(model::Role::kHidden)) continue;
        const auto first = of.begin() + static_cast<std::ptrdiff_t>(matrix.begin);
        EXPECT_EQ(std::count(first, first + static_cast<std::ptrdiff_t>(matrix.size()), *first),
                  static_cast<std::ptrdiff_t>(matrix.size()));
      }
    }
  }
}

// What goes over the network has a part for each rank in it, and nothing else.
TEST_P(OwnershipOf, PartsOfBucketsAreWhatOwnersHave) {
  const model::Layout layout(GetParam().config);
  const model::Tiling tiling(layout);
  const std::vector<Bucket> buckets = buckets_of(layout, tiling);
  constexpr int kRanks = 3;
  const std::vector<int> of = owners(layout, buckets, Muon::is_hidden, kRanks);
  const Ownership ownership(layout, buckets, Muon::is_hidden, kRanks, 1);
  std::vector<int> sent(layout.flat_size(), -1);
  const auto send = [&](std::span<const ranks::Part> parts, std::size_t begin, std::size_t end) {
    ASSERT_EQ(parts.size(), std::size_t{kRanks});
    for (std::size_t rank = 0; rank < parts.size(); ++rank) {
      const std::size_t last = parts[rank].offset + parts[rank].size;
      if (parts[rank].size == 0) continue;
      EXPECT_GE(parts[rank].offset, begin);
      EXPECT_LE(last, end);
      for (std::size_t i = parts[rank].offset; i < last; ++i) {
        EXPECT_EQ(sent[i], -1);
        sent[i] = static_cast<int>(rank);
      }
    }
  };
  for (std::size_t b = 0; b < buckets.size(); ++b) {
    send(ownership.bucket(b), buckets[b].offset, buckets[b].offset + buckets[b].size);
  }
  send(ownership.table(), 0, buckets.front().offset);
  for (std::size_t i = 0; i < of.size(); ++i) {
    if (of[i] < 0) continue;
    ASSERT_EQ(sent[i], of[i]) << i;
  }
}

// Nobody has much more to do than others, or than what can't be cut takes.
TEST(Ownership, DealsOutWorkAlike) {
  const model::Layout layout(support::of_family(
      {.layers = 12, .heads = 4, .channels = 256, .context = 64, .vocabulary = 8192}, "qwen3"));
  const std::vector<Bucket> buckets = buckets_of(layout, model::Tiling(layout));
  for (const int ranks : {2, 3, 8, 16}) {
    std::vector<double> elements, products;
    double largest = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const Ownership ownership(layout, buckets, Muon::is_hidden, ranks, rank);
      const Ownership rows(layout, buckets, AdamW::kKind.keeps_whole, ranks, rank);
      elements.push_back(0);
      products.push_back(0);
      for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
        elements.back() += static_cast<double>(rows.own(t).size);
      }
      for (const HiddenMatrix& matrix : hidden_matrices(layout)) {
        const double cost = Orthogonaliser::flops(matrix.rows, matrix.columns);
        largest = std::max(largest, cost);
        if (ownership.owns(matrix.tensor, matrix.begin)) products.back() += cost;
      }
    }
    const double mean = static_cast<double>(layout.parameter_count()) / ranks;
    EXPECT_LT(*std::ranges::max_element(elements), 1.01 * mean) << ranks;
    const double sum = std::accumulate(products.begin(), products.end(), 0.0);
    EXPECT_LT(*std::ranges::max_element(products), sum / ranks + largest) << ranks;
  }
}

// A rank may be left with nothing.
TEST(Ownership, RanksBeyondWhatThereIsOwnNothing) {
  const model::Layout layout(
      {.layers = 1, .heads = 1, .channels = 4, .context = 2, .vocabulary = 3});
  const std::vector<Bucket> buckets = buckets_of(layout, model::Tiling(layout));
  std::vector<int> of = owners(layout, buckets, Muon::is_hidden, 200);
  std::ranges::sort(of);
  EXPECT_LT(std::unique(of.begin(), of.end()) - of.begin(), 200);
}

TEST(Ownership, WithoutShardsEachRankOwnsWhatIsTrained) {
  const model::Layout layout(support::kSmallModel, model::Freeze("layers:0"));
  const Ownership ownership(layout);
  EXPECT_FALSE(ownership.is_sharded());
  EXPECT_TRUE(ownership.table().empty());
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    EXPECT_EQ(ownership.own(i).size, layout[i].is_trained ? layout[i].size() : 0);
  }
}

}  // namespace
}  // namespace cllm::train
