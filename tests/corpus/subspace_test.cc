#include "cllm/corpus/subspace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/blas.h"
#include "cllm/ranks/merge.h"
#include "support/thread_ranks.h"

namespace cllm::corpus {
namespace {

using kernels::Transpose;

/// A dense matrix (V, V).
struct Dense {
  std::size_t size = 0;
  std::vector<float> values;

  float at(std::size_t i, std::size_t j) const { return values[i * size + j]; }
};

/// One element in `sparsity` is not 0; rows and columns shrink with their number by `decay`.
Dense random_matrix(std::size_t size, std::uint64_t sparsity, double decay, std::uint64_t seed) {
  Dense matrix{size, std::vector<float>(size * size)};
  RandomStream random(seed, 0);
  for (std::size_t i = 0; i < matrix.values.size(); ++i) {
    const double scale = std::pow(decay, static_cast<double>(i / size + i % size));
    const double value = scale * random.normal();
    if (random.below(sparsity) == 0) matrix.values[i] = static_cast<float>(value);
  }
  return matrix;
}

/// The rows of a rank, some to a block.
SparseRows share_of(const Dense& matrix, std::size_t rank, std::size_t ranks) {
  constexpr std::size_t kRowsOfBlock = 5;
  SparseRows blocks(1);
  std::size_t rows = 0;
  for (std::size_t i = rank; i < matrix.size; i += ranks) {
    for (std::size_t j = 0; j < matrix.size; ++j) {
      const float value = matrix.at(i, j), transposed = matrix.at(j, i);
      if (value != 0 || transposed != 0) blocks.back().add(j, value, transposed);
    }
    blocks.back().end_row(i);
    if (++rows % kRowsOfBlock == 0) blocks.emplace_back();
  }
  return blocks;
}

SparseMatrix sparse(const Dense& matrix, std::size_t rank = 0, std::size_t ranks = 1) {
  return {matrix.size, share_of(matrix, rank, ranks)};
}

Subspace subspace_of(const Dense& matrix, const SubspaceOptions& options, int ranks = 1,
                     int threads = 1) {
  Subspace result;
  kernels::prepare_blas(threads);
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    ThreadPool pool(threads);
    Subspace mine = leading_subspace(process_group, pool, kernels::select_kernels(),
                                     sparse(matrix, static_cast<std::size_t>(process_group.rank()),
                                            static_cast<std::size_t>(ranks)),
                                     options);
    // The last rank's, which decomposes nothing itself.
    if (process_group.rank() == ranks - 1) result = std::move(mine);
  });
  return result;
}

/// M Mᵀ.
std::vector<double> gram_of(const Dense& matrix) {
  const std::size_t n = matrix.size;
  const std::vector<double> wide(matrix.values.begin(), matrix.values.end());
  std::vector<double> gram(n * n);
  kernels::dgemm(Transpose::kNo, Transpose::kYes, n, n, n, 1, wide.data(), n, wide.data(), n, 0,
                 gram.data(), n);
  return gram;
}

/// All singular values by LAPACK, descending.
std::vector<double> exact_values(const Dense& matrix) {
  std::vector<double> gram = gram_of(matrix);
  std::vector<double> values = kernels::lapack_symmetric_eigen(gram.data(), matrix.size);
  for (double& value : values) value = std::sqrt(std::max(value, 0.0));
  std::ranges::reverse(values);
  return values;
}

/// How far columns [0, count) of U (V, r) are from being singular vectors: the largest
/// ‖M Mᵀ u - σ² u‖ / σ_1² and |uᵢᵀuⱼ - δᵢⱼ|.
double defect(const Dense& matrix, const Subspace& subspace, std::size_t count) {
  const std::size_t n = matrix.size, r = subspace.singular_values.size();
  const std::vector<double> gram = gram_of(matrix);
  const std::vector<double> u(subspace.vectors.span().begin(), subspace.vectors.span().end());
  std::vector<double> image(n * r), inner(r * r);
  kernels::dgemm(Transpose::kNo, Transpose::kNo, n, r, n, 1, gram.data(), n, u.data(), r, 0,
                 image.data(), r);
  kernels::dgemm(Transpose::kYes, Transpose::kNo, r, r, n, 1, u.data(), r, u.data(), r, 0,
                 inner.data(), r);
  double largest = 0;
  const double unit = std::pow(subspace.singular_values[0], 2);
  for (std::size_t j = 0; j < count; ++j) {
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double eigenvalue = std::pow(subspace.singular_values[j], 2);
      squares += std::pow(image[i * r + j] - eigenvalue * u[i * r + j], 2);
    }
    largest = std::max(largest, std::sqrt(squares) / unit);
    for (std::size_t i = 0; i < count; ++i) {
      largest = std::max(largest, std::abs(inner[i * r + j] - (i == j ? 1 : 0)));
    }
  }
  return largest;
}

/// Vectors are rounded to float, and so are the factors of the products that they come from: a few
/// roundings of 2^-24, each the norm of a vector of up to 32 terms of a product.
constexpr double kTolerance = 0x1p-24 * 32;

TEST(SubspaceTest, DefectSeesWhatIsNoSingularVector) {
  const Dense matrix = random_matrix(40, 2, 0.97, 1);
  const Subspace good = subspace_of(matrix, {.rank = 40, .seed = 1});
  EXPECT_LT(defect(matrix, good, 40), kTolerance);
  const auto spoiled = [&](const auto& spoil) {
    Subspace other{AlignedBuffer<float>(40 * 40), good.singular_values};
    std::ranges::copy(good.vectors.span(), other.vectors.data());
    spoil(other);
    return defect(matrix, other, 40);
  };
  EXPECT_GT(spoiled([](Subspace& s) { s.vectors[3] += 1e-4f; }), kTolerance);
  EXPECT_GT(spoiled([](Subspace& s) { s.singular_values[1] *= 1 + 1e-4; }), kTolerance);
  EXPECT_GT(spoiled([](Subspace& s) { std::swap(s.vectors[0], s.vectors[1]); }), kTolerance);
}

// All directions are iterated, so that nothing is left out but rounding.
TEST(SubspaceTest, WholeSpaceIsWhatLapackFinds) {
  for (const auto& [size, rank] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {2, 2}, {17, 16}, {40, 30}, {300, 290}}) {
    const Dense matrix =
        random_matrix(size, size > 2 ? 3 : 1, 1 - 1 / (static_cast<double>(size) + 1), size);
    const Subspace subspace = subspace_of(matrix, {.rank = rank});
    const std::vector<double> exact = exact_values(matrix);
    for (std::size_t j = 0; j < rank; ++j) {
      EXPECT_NEAR(subspace.singular_values[j], exact[j], kTolerance * exact[0])
          << size << ", " << j;
    }
    EXPECT_LT(defect(matrix, subspace, rank), kTolerance) << size;
  }
}

// The values of a random matrix lie close together, the harder case; a part of them is wanted.
TEST(SubspaceTest, LeadingPartOfAFlatSpectrum) {
  const Dense matrix = random_matrix(600, 6, 1, 5);
  const std::vector<double> exact = exact_values(matrix);
  constexpr std::size_t kRank = 48;
  const Subspace subspace = subspace_of(matrix, {.rank = kRank, .seed = 2}, 1, 2);
  double kept = 0, best = 0;
  for (std::size_t j = 0; j < kRank; ++j) {
    // A subspace's values are never above the matrix'.
    EXPECT_LT(subspace.singular_values[j], exact[j] * (1 + kTolerance));
    kept += std::pow(subspace.singular_values[j], 2);
    best += std::pow(exact[j], 2);
  }
  EXPECT_GT(kept / best, 0.99);
  // With one filter of degree 1 it is not there yet, so more of them do something.
  const Subspace early =
      subspace_of(matrix, {.rank = kRank, .filters = 1, .degree = 1, .seed = 2}, 1, 2);
  double first = 0;
  for (const double value : early.singular_values) first += value * value;
  EXPECT_LT(first / best, 0.97);
}

TEST(SubspaceTest, LeadingPartOfASteepSpectrum) {
  const Dense matrix = random_matrix(400, 2, 0.97, 7);
  const std::vector<double> exact = exact_values(matrix);
  const Subspace subspace = subspace_of(matrix, {.rank = 20});
  for (std::size_t j = 0; j < 20; ++j) {
    EXPECT_NEAR(subspace.singular_values[j], exact[j], kTolerance * exact[0]);
  }
  EXPECT_LT(defect(matrix, subspace, 20), kTolerance);
}

/// A sum of `rank` outer products, each element rounded to float, so that it is only nearly of that
/// rank.
Dense of_rank(std::size_t size, std::size_t rank) {
  Dense matrix{size, std::vector<float>(size * size)};
  const Dense left = random_matrix(size, 1, 1, 11), right = random_matrix(size, 1, 1, 12);
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < size; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < rank; ++k) {
        sum += static_cast<double>(left.at(i, k)) * static_cast<double>(right.at(k, j));
      }
      matrix.values[i * size + j] = static_cast<float>(sum);
    }
  }
  return matrix;
}

TEST(SubspaceTest, BeyondTheRankOfTheMatrixAllIsZero) {
  // In the larger, rounding makes singular values of 1e-7 of the first.
  for (const auto& [size, rank] :
       {std::pair<std::size_t, std::size_t>{50, 8}, {50, 50}, {50, 60}, {300, 8}}) {
    const Dense matrix = of_rank(size, 3);
    const Subspace subspace = subspace_of(matrix, {.rank = rank});
    const std::vector<double> exact = exact_values(matrix);
    for (std::size_t j = 0; j < rank; ++j) {
      if (j < 3) {
        EXPECT_NEAR(subspace.singular_values[j], exact[j], kTolerance * exact[0]);
        continue;
      }
      EXPECT_EQ(subspace.singular_values[j], 0);
      for (std::size_t i = 0; i < size; ++i) EXPECT_EQ(subspace.vectors[i * rank + j], 0);
    }
    EXPECT_LT(defect(matrix, subspace, 3), kTolerance);
  }
}

TEST(SubspaceTest, OfNothingIsZero) {
  const Subspace subspace = subspace_of({30, std::vector<float>(900)}, {.rank = 4}, 2, 2);
  EXPECT_THAT(subspace.singular_values, testing::Each(0.0));
  EXPECT_THAT(subspace.vectors.span(), testing::Each(0.0f));
}

TEST(SubspaceTest, LargestComponentsArePositive) {
  const Subspace subspace = subspace_of(random_matrix(60, 2, 0.98, 13), {.rank = 10});
  for (std::size_t j = 0; j < 10; ++j) {
    float low = 0, high = 0;
    for (std::size_t i = 0; i < 60; ++i) {
      low = std::min(low, subspace.vectors[i * 10 + j]);
      high = std::max(high, subspace.vectors[i * 10 + j]);
    }
    EXPECT_GE(high, -low) << j;
  }
}

TEST(SubspaceTest, SameBitsForAnyRanksAndThreads) {
  // Several tiles, panels and blocks of rows, all with a remainder.
  const Dense matrix = random_matrix(530, 8, 0.999, 17);
  const SubspaceOptions options{.rank = 100, .filters = 1, .degree = 2};
  const Subspace reference = subspace_of(matrix, options);
  for (const int ranks : {1, 2, 3}) {
    for (const int threads : {1, 2, 4}) {
      const Subspace other = subspace_of(matrix, options, ranks, threads);
      EXPECT_EQ(other.singular_values, reference.singular_values) << ranks << " × " << threads;
      EXPECT_TRUE(std::ranges::equal(other.vectors.span(), reference.vectors.span()))
          << ranks << " × " << threads;
    }
  }
  const Subspace other = subspace_of(matrix, {.rank = 100, .filters = 1, .degree = 2, .seed = 1});
  EXPECT_NE(other.singular_values, reference.singular_values);
}

TEST(MergeTest, EveryBitArrives) {
  const float odd[] = {-0.0f, std::numeric_limits<float>::denorm_min(),
                       -std::numeric_limits<float>::infinity(), std::bit_cast<float>(0x7fa12345u),
                       std::bit_cast<float>(0xffffffffu)};
  support::ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    constexpr std::size_t kCount = (std::size_t{1} << 20) + 5;  // more than one message
    std::vector<float> values(kCount);
    std::vector<double> wide(7);
    const auto rank = static_cast<std::size_t>(process_group.rank());
    for (std::size_t i = rank; i < kCount; i += 3) values[i] = odd[i % 5];
    for (std::size_t i = rank; i < 7; i += 3) wide[i] = -static_cast<double>(i);
    merge(process_group, std::span(values));
    merge(process_group, std::span(wide));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(values[i]);
      wrong += bits != std::bit_cast<std::uint32_t>(odd[i % 5]);
    }
    EXPECT_EQ(wrong, 0u);
    for (std::size_t i = 0; i < 7; ++i) {
      EXPECT_EQ(std::bit_cast<std::uint64_t>(wide[i]),
                std::bit_cast<std::uint64_t>(-static_cast<double>(i)));
    }
  });
}

}  // namespace
}  // namespace cllm::corpus
