#include "cllm/corpus/corpus_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"

namespace cllm::corpus {
namespace {

constexpr model::ModelConfig kDense{
    .layers = 1, .heads = 1, .channels = 12, .context = 4, .vocabulary = 1500};
constexpr model::ModelConfig kFactorised{
    .layers = 1, .heads = 1, .channels = 12, .context = 4, .vocabulary = 1500, .embedding_rank = 5};

/// Vectors whose components fall off and depend on how frequent a token is, as those of text do.
CorpusVectors vectors_for(const model::ModelConfig& config) {
  CorpusVectors result;
  result.vocabulary = config.vocabulary;
  result.rank = config.embedding_width();
  result.vectors = AlignedBuffer<float>(result.vocabulary * result.rank);
  RandomStream random(3, 0);
  for (std::size_t t = 0; t < result.vocabulary; ++t) {
    result.token_counts.push_back(1000 / (t + 1));
    double before = 0;
    for (std::size_t j = 0; j < result.rank; ++j) {
      before = (random.normal() + before) / static_cast<double>(j + 1);
      result.vectors[t * result.rank + j] = static_cast<float>(before);
    }
  }
  return result;
}

EmbeddingPlace place_of(const model::Layout& layout, std::span<float> parameters,
                        std::span<const std::uint32_t> token_rows = {}) {
  const auto tensor = [&](std::size_t index) {
    return parameters.subspan(layout[index].offset, layout[index].size());
  };
  std::vector<BandPlace> bands;
  for (const model::TableBand& band : layout.embedding()) {
    bands.push_back({.rows = band.rows,
                     .tokens = tensor(band.tensor),
                     .basis = band.basis ? tensor(*band.basis) : std::span<float>()});
  }
  return {
      .bands = bands,
      .token_rows = token_rows,
      .deviation = model::embedding_deviation(layout.config(), layout.config().embedding_width())};
}

/// A flat buffer whose table was started, and what it was started with.
struct Start {
  explicit Start(const model::ModelConfig& config, const CorpusStart& options = {}, int threads = 1)
      : layout(config), parameters(layout.flat_size()) {
    kernels::prepare_blas(threads);
    model::initialize(layout, 1, parameters.span(), 1);
    before.assign(parameters.span().begin(), parameters.span().end());
    CorpusVectors vectors = vectors_for(config);
    ThreadPool pool(threads);
    table = start_from_corpus(vectors, nullptr, options, pool, place_of(layout, parameters.span()));
  }
  std::span<const float> tensor(std::size_t index) const {
    return parameters.span().subspan(layout[index].offset, layout[index].size());
  }
  /// The table (V, C), in double.
  std::vector<double> embeddings() const {
    const model::ModelConfig& c = layout.config();
    const auto rows = tensor(layout.embedding().front().tensor);
    if (!c.is_factorised()) return {rows.begin(), rows.end()};
    return product(rows, tensor(*layout.embedding().front().basis));
  }
  /// (n, width) times (width, C).
  std::vector<double> product(std::span<const float> a, std::span<const float> b) const {
    const std::size_t r = layout.config().embedding_width(), c = layout.config().channels;
    std::vector<double> result(a.size() / r * c);
    for (std::size_t i = 0; i < result.size(); ++i) {
      for (std::size_t k = 0; k < r; ++k) {
        result[i] += static_cast<double>(a[i / c * r + k]) * static_cast<double>(b[k * c + i % c]);
      }
    }
    return result;
  }

  model::Layout layout;
  AlignedBuffer<float> parameters;
  std::vector<float> before;
  StartedEmbedding table;
};

double deviation(const std::vector<double>& values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares / static_cast<double>(values.size()));
}

// Float products of 12 terms: relative errors of a few 2^-24, and of 2^-20 from the lattice's
// integers, which both of its factors share.
constexpr double kTolerance = 1e-5;

TEST(CorpusStartTest, ADenseTableIsTheVectorsAtGpt2sDeviation) {
  const Start start(kDense);
  const CorpusVectors vectors = vectors_for(kDense);
  const std::vector<double> table = start.embeddings();
  EXPECT_NEAR(deviation(table), 0.02, 0.02 * kTolerance);
  const double scale = table[0] / static_cast<double>(vectors.vectors[0]);
  for (std::size_t i = 0; i < table.size(); ++i) {
    ASSERT_NEAR(table[i], scale * static_cast<double>(vectors.vectors[i]), kTolerance) << i;
  }
  EXPECT_TRUE(start.table.lattices.empty());
}

// Whatever the basis, embeddings are the vectors in the directions of the orthonormal basis.
TEST(CorpusStartTest, AFactorisedEmbeddingsProductIsTheVectorsInEitherBasis) {
  for (const bool lattice : {false, true}) {
    const Start start(kFactorised, {.lattice = lattice});
    const CorpusVectors vectors = vectors_for(kFactorised);
    const std::vector<double> table = start.embeddings();
    EXPECT_NEAR(deviation(table), 0.02, 0.02 * kTolerance);
    const model::Tensor& basis = start.layout[*start.layout.embedding().front().basis];
    const std::vector<double> wanted = start.product(
        vectors.vectors.span(), std::span(start.before).subspan(basis.offset, basis.size()));
    const double scale = 0.02 / deviation(wanted);
    for (std::size_t i = 0; i < table.size(); ++i) {
      ASSERT_NEAR(table[i], scale * wanted[i], kTolerance) << lattice << ", " << i;
    }
    EXPECT_EQ(start.table.lattices.contains(0), lattice);
  }
}

// The basis' inner products are those of the certified lattice, up to one factor.
TEST(CorpusStartTest, TheBasisIsTheCertifiedOne) {
  const Start start(kFactorised);
  const lattice::Certificate& certificate = start.table.lattices.at(0);
  EXPECT_EQ(lattice::fault(certificate), std::nullopt);
  const std::size_t r = kFactorised.embedding_rank, c = kFactorised.channels;
  const auto basis = start.tensor(*start.layout.embedding().front().basis);
  double squares = 0, integer_squares = 0;
  for (const float value : basis) squares += std::pow(static_cast<double>(value), 2);
  for (const std::int64_t value : certificate.reduced.values()) {
    integer_squares += std::pow(static_cast<double>(value), 2);
  }
  EXPECT_NEAR(squares, static_cast<double>(r), static_cast<double>(r) * kTolerance);
  for (std::size_t i = 0; i < r; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double found = 0, wanted = 0;
      for (std::size_t k = 0; k < c; ++k) {
        found += static_cast<double>(basis[i * c + k]) * static_cast<double>(basis[j * c + k]);
      }
      for (std::size_t k = 0; k < r; ++k) {
        wanted += static_cast<double>(certificate.reduced(i, k)) *
                  static_cast<double>(certificate.reduced(j, k));
      }
      EXPECT_NEAR(found, wanted * squares / integer_squares, kTolerance) << i << ", " << j;
    }
  }
}

// Inputs as the model sees them, by frequency, are white in the basis that LLL began with; in the
// reduced one their second moment is that of the inverse transform.
TEST(CorpusStartTest, CodesOfInputsAreWhiteButForTheTransform) {
  const Start start(kFactorised);
  const CorpusVectors vectors = vectors_for(kFactorised);
  const lattice::IntegerMatrix& inverse = start.table.lattices.at(0).inverse;
  const std::size_t r = kFactorised.embedding_rank;
  const auto codes = start.tensor(start.layout.embedding().front().tensor);
  std::vector<double> moment(r * r), wanted(r * r);
  for (std::size_t i = 0; i < r * r; ++i) {
    for (std::size_t t = 0; t < kFactorised.vocabulary; ++t) {
      moment[i] += static_cast<double>(vectors.token_counts[t]) *
                   static_cast<double>(codes[t * r + i / r]) *
                   static_cast<double>(codes[t * r + i % r]);
    }
    for (std::size_t k = 0; k < r; ++k) {
      wanted[i] += static_cast<double>(inverse(k, i / r)) * static_cast<double>(inverse(k, i % r));
    }
  }
  // Damping by a thousandth of the mean variance counts most where the variance is least.
  const double factor = moment[0] / wanted[0];
  for (std::size_t i = 0; i < r * r; ++i) {
    EXPECT_NEAR(moment[i] / factor, wanted[i], 0.05) << i / r << ", " << i % r;
  }
}

// Rows of bands of frequency are the dense table's, in their order; where the rank is smaller, its
// leading numbers.
TEST(CorpusStartTest, BandsHaveTheLeadingNumbersOfTheDenseTable) {
  model::ModelConfig config = kDense;
  config.bands = model::bands_of("100:12,400:6,rest:3");
  const std::size_t v = config.vocabulary, c = config.channels;
  std::vector<std::uint32_t> rows(v);
  for (std::uint32_t token = 0; token < v; ++token) rows[token] = (token * 7 + 5) % 1500;
  for (const bool tied : {true, false}) {
    config.parts.tied = tied;
    model::ModelConfig dense_config = kDense;
    dense_config.parts.tied = tied;
    const std::vector<double> dense = Start(dense_config).embeddings();
    for (const bool lattice : {false, true}) {
      const model::Layout layout(config);
      AlignedBuffer<float> parameters(layout.flat_size());
      model::initialize(layout, 1, parameters.span(), 1);
      CorpusVectors vectors = vectors_for(config);
      ThreadPool pool(2);
      const StartedEmbedding started = start_from_corpus(
          vectors, nullptr, {.lattice = lattice}, pool, place_of(layout, parameters.span(), rows));
      ASSERT_EQ(started.lattices.size(), lattice ? 2u : 0u);
      for (const auto& [band, certificate] : started.lattices) {
        EXPECT_EQ(lattice::fault(certificate), std::nullopt);
        EXPECT_EQ(certificate.before.rows(), band == 1 ? 6u : 3u);
      }
      for (std::uint32_t token = 0; token < v; ++token) {
        const model::TableBand& band = layout.band_of(rows[token]);
        const std::size_t r = layout[band.tensor].columns;
        const float* const code =
            parameters.data() + layout[band.tensor].offset + (rows[token] - band.first_row) * r;
        for (std::size_t i = 0; i < c; ++i) {
          double value = band.basis ? 0 : static_cast<double>(code[i]);
          for (std::size_t k = 0; k < r && band.basis; ++k) {
            value += static_cast<double>(code[k]) *
                     static_cast<double>(parameters[layout[*band.basis].offset + k * c + i]);
          }
          const double wanted = i < r ? dense[token * c + i] : 0;
          if (band.basis) {
            // The untied table is a hundred times as large.
            ASSERT_NEAR(value, wanted, kTolerance * (tied ? 1 : 100)) << token << ", " << i;
          } else {
            ASSERT_EQ(value, wanted) << token << ", " << i;
          }
        }
      }
    }
  }
}

TEST(CorpusStartTest, GivesTheSameBitsForAnyThreads) {
  const Start alone(kFactorised);
  for (const int threads : {2, 3}) {
    const Start other(kFactorised, {}, threads);
    EXPECT_THAT(other.parameters.span(), testing::ElementsAreArray(alone.parameters.span()));
  }
}

TEST(CorpusStartTest, ATableWithoutNeighboursStaysAsItWasDrawn) {
  const model::Layout layout(kFactorised);
  AlignedBuffer<float> parameters(layout.flat_size());
  model::initialize(layout, 1, parameters.span(), 1);
  const std::vector<float> before(parameters.span().begin(), parameters.span().end());
  CorpusVectors vectors = vectors_for(kFactorised);
  vectors.vectors.fill(0);
  ThreadPool pool(1);
  const StartedEmbedding table =
      start_from_corpus(vectors, nullptr, {}, pool, place_of(layout, parameters.span()));
  EXPECT_TRUE(table.lattices.empty());
  EXPECT_THAT(parameters.span(), testing::ElementsAreArray(before));
}

TEST(CorpusStartTest, RareTokensStartFromTheirRelatives) {
  // Token 1 shares most with token 0, and nothing with token 2.
  const std::vector<std::string_view> pieces = {"walking", "walkin", "zoo"};
  const model::Layout layout(
      {.layers = 1, .heads = 1, .channels = 2, .context = 4, .vocabulary = 3});
  const Signatures signatures(pieces, kernels::select_kernels());
  CorpusVectors vectors;
  vectors.vocabulary = 3;
  vectors.rank = 2;
  vectors.vectors = AlignedBuffer<float>(6);
  const std::vector<float> rows = {1, 2, 7, 7, 2, -1};
  std::ranges::copy(rows, vectors.vectors.span().begin());
  vectors.token_counts = {10, 1, 10};
  AlignedBuffer<float> parameters(layout.flat_size());
  ThreadPool pool(1);
  const StartedEmbedding table = start_from_corpus(vectors, &signatures, {.rare_below = 5}, pool,
                                                   place_of(layout, parameters.span()));
  EXPECT_EQ(table.rare, (RareTokens{.rare = 1, .started = 1}));
  const float* const rows_now =
      parameters.data() + layout[layout.embedding().front().tensor].offset;
  EXPECT_FLOAT_EQ(rows_now[2], rows_now[0]);
  EXPECT_FLOAT_EQ(rows_now[3], rows_now[1]);
}

}  // namespace
}  // namespace cllm::corpus
