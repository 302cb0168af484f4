#include "cllm/train/matrix_deal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "cllm/model/families.h"
#include "cllm/train/orthogonalise.h"

namespace cllm::train {
namespace {

const model::ModelConfig kModel{
    .layers = 3, .heads = 2, .channels = 32, .context = 16, .vocabulary = 50};

double cost(const HiddenMatrix& matrix) {
  return Orthogonaliser::flops(matrix.rows, matrix.columns);
}

TEST(MatrixDeal, KnowsTheMatricesOfATensor) {
  const model::Layout layout(kModel);
  const std::vector<HiddenMatrix> matrices = hidden_matrices(layout);
  ASSERT_EQ(matrices.size(), 3u * 6);  // q, k, v, the projection, and the MLP's two
  const model::Tensor& qkv = layout[matrices[0].tensor];
  EXPECT_EQ(qkv.name, "h.0.attn.c_attn.weight");
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(matrices[i].begin, qkv.offset + i * 32 * 32);
    EXPECT_EQ(matrices[i].rows, 32u);
    EXPECT_EQ(matrices[i].columns, 32u);
  }
  std::size_t hidden = 0, all = 0;
  for (const model::Tensor& tensor : layout.tensors()) {
    if (tensor.role == model::Role::kHidden) hidden += tensor.size();
  }
  for (const HiddenMatrix& matrix : matrices) all += matrix.size();
  EXPECT_EQ(all, hidden);
}

TEST(MatrixDeal, EachMatrixHasOneOwnerAndItsPlaceInTheOwnersPart) {
  const std::vector<HiddenMatrix> matrices = hidden_matrices(model::Layout(kModel));
  for (const int ranks : {1, 2, 3, 5, 18, 40}) {
    const MatrixDeal deal(matrices, ranks, 4);
    std::vector<int> written(deal.size);
    std::vector<int> seen(matrices.size());
    for (std::size_t wave = 0; wave < deal.waves.size(); ++wave) {
      ASSERT_EQ(deal.parts(wave).size(), static_cast<std::size_t>(ranks));
      for (std::size_t rank = 0; rank < deal.waves[wave].size(); ++rank) {
        const MatrixDeal::Share& share = deal.waves[wave][rank];
        for (const std::size_t i : share.matrices) {
          ++seen[i];
          const MatrixDeal::Place& place = deal.places[i];
          EXPECT_EQ(place.owner, rank);
          EXPECT_EQ(place.wave, wave);
          EXPECT_EQ(place.at % 16, 0u);
          EXPECT_GE(place.at, share.part.offset);
          EXPECT_LE(place.at + matrices[i].size(), share.part.offset + share.part.size);
          for (std::size_t e = 0; e < matrices[i].size(); ++e) ++written[place.at + e];
        }
      }
    }
    EXPECT_THAT(seen, testing::Each(1));
    EXPECT_THAT(written, testing::Each(testing::Le(1)));
  }
}

// Largest first to the least loaded: no rank has more than the mean and one matrix; and where there
// are several for each, their waves are of about the same size.
TEST(MatrixDeal, RanksHaveAboutAsMuchToDo) {
  model::ModelConfig shape = model::find_preset("gpt2-124m").shape;
  shape.vocabulary = 50257;
  const std::vector<HiddenMatrix> matrices = hidden_matrices(model::Layout(shape));
  double all = 0, largest = 0;
  for (const HiddenMatrix& matrix : matrices) {
    all += cost(matrix);
    largest = std::max(largest, cost(matrix));
  }
  for (const int ranks : {2, 3, 4, 8, 16}) {
    const MatrixDeal deal(matrices, ranks, 4);
    std::vector<double> loads(static_cast<std::size_t>(ranks));
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      loads[deal.places[i].owner] += cost(matrices[i]);
    }
    EXPECT_LE(std::ranges::max(loads), all / ranks + largest) << ranks;
    if (ranks <= 4) {
      EXPECT_LE(std::ranges::max(loads), 1.1 * all / ranks) << ranks;
      EXPECT_EQ(deal.waves.size(), 4u);
      for (const auto& wave : deal.waves) {
        for (const MatrixDeal::Share& share : wave) EXPECT_FALSE(share.matrices.empty());
      }
    }
  }
}

TEST(MatrixDeal, IsTheSameEveryTime) {
  const std::vector<HiddenMatrix> matrices = hidden_matrices(model::Layout(kModel));
  const MatrixDeal one(matrices, 3, 4), other(matrices, 3, 4);
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    EXPECT_EQ(one.places[i].owner, other.places[i].owner);
    EXPECT_EQ(one.places[i].at, other.places[i].at);
  }
}

TEST(MatrixDeal, NothingIsDealtWhereThereIsNothing) {
  const MatrixDeal deal({}, 2, 4);
  EXPECT_EQ(deal.size, 0u);
  EXPECT_EQ(deal.waves.size(), 1u);
}

}  // namespace
}  // namespace cllm::train
