#include "cllm/corpus/corpus_start.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "cllm/kernels/blas.h"
#include "cllm/lattice/cholesky.h"
#include "cllm/lattice/reduce.h"

namespace cllm::corpus {
namespace {

using kernels::sgemm;
using enum kernels::Transpose;

/// Rows of the table that are taken at a time, so that sums don't depend on threads.
constexpr std::size_t kBlockRows = 1024;

/// Binary digits of the lattice's integers. Rounding to them moves a basis by a millionth.
constexpr int kBasisBits = 20;

/// Of the mean variance, added to each: a corpus may leave some of the space empty.
constexpr double kDamping = 1e-3;

/// The second moment (r, r) of the leading numbers of vectors of `tokens`, which are weighted by
/// their frequency.
std::vector<double> second_moment(const CorpusVectors& vectors,
                                  std::span<const std::uint32_t> tokens, std::size_t r) {
  const std::size_t v = tokens.size();
  const double all =
      std::accumulate(tokens.begin(), tokens.end(), 0.0, [&](double sum, std::uint32_t token) {
        return sum + static_cast<double>(vectors.token_counts[token]);
      });
  std::vector<float> weighted(std::min(v, kBlockRows) * r), part(r * r);
  std::vector<double> moment(r * r);
  for (std::size_t first = 0; first < v && all > 0; first += kBlockRows) {
    const std::size_t rows = std::min(kBlockRows, v - first);
    for (std::size_t t = 0; t < rows; ++t) {
      const std::uint32_t token = tokens[first + t];
      const auto frequency = static_cast<double>(vectors.token_counts[token]) / all;
      const auto weight = static_cast<float>(std::sqrt(frequency));
      const float* const x = vectors.vectors.data() + token * vectors.rank;
      std::transform(x, x + r, &weighted[t * r], [&](float value) { return weight * value; });
    }
    sgemm(kYes, kNo, r, r, rows, 1.0f, weighted.data(), r, weighted.data(), r, 0.0f, part.data(),
          r);
    std::ranges::transform(part, moment, moment.begin(), std::plus<double>());
  }
  return moment;
}

std::vector<double> transposed(const std::vector<double>& matrix, std::size_t n) {
  std::vector<double> result(n * n);
  for (std::size_t i = 0; i < n * n; ++i) result[i] = matrix[i % n * n + i / n];
  return result;
}

/// The inverse (n, n) of an upper-triangular matrix.
std::vector<double> inverse_of(const std::vector<double>& upper, std::size_t n) {
  std::vector<double> inverse(n * n);
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t i = j + 1; i-- > 0;) {
      double sum = i == j ? 1 : 0;
      for (std::size_t k = i + 1; k <= j; ++k) sum -= upper[i * n + k] * inverse[k * n + j];
      inverse[i * n + j] = sum / upper[i * n + i];
    }
  }
  return inverse;
}

/// a (n, n) times integers (n, n).
std::vector<double> multiply(const std::vector<double>& a, const lattice::IntegerMatrix& b) {
  const std::size_t n = b.rows();
  std::vector<double> product(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < n; ++k) {
      const double factor = a[i * n + k];
      for (std::size_t j = 0; j < n; ++j) {
        product[i * n + j] += factor * static_cast<double>(b(k, j));
      }
    }
  }
  return product;
}

std::vector<float> scaled(const std::vector<double>& values, double factor) {
  std::vector<float> result(values.size());
  std::ranges::transform(values, result.begin(),
                         [&](double value) { return static_cast<float>(factor * value); });
  return result;
}

/// Rows that are not zero: of tokens that the corpus says something about.
std::size_t used_rows(std::span<const float> table, std::size_t width) {
  std::size_t used = 0;
  for (std::size_t first = 0; first < table.size(); first += width) {
    used += std::ranges::any_of(table.subspan(first, width), [](float x) { return x != 0; });
  }
  return used;
}

double squares(std::span<const float> values) {
  return std::accumulate(values.begin(), values.end(), 0.0, [](double sum, float value) {
    return sum + static_cast<double>(value) * static_cast<double>(value);
  });
}

/// table (rows, n) = table times matrix (n, n), in place.
void multiply_rows(std::span<float> table, const std::vector<float>& matrix, std::size_t n,
                   ThreadPool& pool) {
  const std::size_t rows = table.size() / n;
  pool.run([&](int thread, Recorder&) {
    std::vector<float> block(kBlockRows * n);
    const auto threads = static_cast<std::size_t>(pool.size());
    for (std::size_t first = static_cast<std::size_t>(thread) * kBlockRows; first < rows;
         first += threads * kBlockRows) {
      const std::size_t count = std::min(kBlockRows, rows - first);
      float* const place = table.data() + first * n;
      std::copy_n(place, count * n, block.begin());
      sgemm(kNo, kNo, count, n, n, 1.0f, block.data(), n, matrix.data(), n, 0.0f, place, n);
    }
  });
}

/// Goes over to the basis of Note [Corpus start]: codes to x A⁻¹, basis (r, C) from Q to A Q.
/// `tokens`: of the rows.
std::optional<lattice::Certificate> express_in_lattice(const CorpusVectors& vectors,
                                                       std::span<const std::uint32_t> tokens,
                                                       const BandPlace& band, ThreadPool& pool) {
  const std::span<float> codes = band.tokens, basis = band.basis;
  const std::size_t r = band.width(), c = basis.size() / r;
  const std::vector<double> moment = second_moment(vectors, tokens, r);
  double trace = 0;
  for (std::size_t i = 0; i < r; ++i) trace += moment[i * r + i];
  if (trace == 0) return std::nullopt;
  const std::vector<double> upper =
      transposed(lattice::cholesky(moment, r, kDamping * trace / static_cast<double>(r)), r);
  lattice::Certificate certificate = lattice::reduce(upper, r, kBasisBits);
  const std::vector<double> reduced = lattice::multiply(certificate.transform, upper, r);
  const double norm =
      std::sqrt(std::inner_product(reduced.begin(), reduced.end(), reduced.begin(), 0.0) /
                static_cast<double>(r));
  multiply_rows(codes, scaled(multiply(inverse_of(upper, r), certificate.inverse), norm), r, pool);
  const std::vector<float> to_lattice = scaled(reduced, 1 / norm);
  const std::vector<float> orthonormal(basis.begin(), basis.end());
  sgemm(kNo, kNo, r, c, r, 1.0f, to_lattice.data(), r, orthonormal.data(), c, 0.0f, basis.data(),
        c);
  return certificate;
}

/// The token of each row.
std::vector<std::uint32_t> tokens_by_rows(std::size_t vocabulary,
                                          std::span<const std::uint32_t> token_rows) {
  std::vector<std::uint32_t> tokens(vocabulary);
  std::iota(tokens.begin(), tokens.end(), 0u);
  for (std::uint32_t token = 0; token < token_rows.size(); ++token) {
    tokens[token_rows[token]] = token;
  }
  return tokens;
}

}  // namespace

StartedEmbedding start_from_corpus(CorpusVectors& vectors, const Signatures* signatures,
                                   const CorpusStart& options, ThreadPool& pool,
                                   const EmbeddingPlace& embedding) {
  StartedEmbedding started;
  if (signatures != nullptr && options.rare_below > 0) {
    started.rare = start_rare_tokens(vectors.vectors.span(), vectors.rank,
                                     std::span(vectors.token_counts).first(signatures->size()),
                                     *signatures, options.rare_below, pool.size());
  }
  const double size = squares(vectors.vectors.span());
  if (size == 0) return started;  // no token has a neighbour: the table stays as it was drawn
  const auto used =
      static_cast<double>(used_rows(vectors.vectors.span(), vectors.rank) * vectors.rank);
  const auto scale = static_cast<float>(embedding.deviation * std::sqrt(used / size));
  const std::vector<std::uint32_t> tokens =
      tokens_by_rows(vectors.vocabulary, embedding.token_rows);
  std::size_t first = 0;
  for (std::size_t i = 0; i < embedding.bands.size(); ++i) {
    const BandPlace& band = embedding.bands[i];
    const auto of_band = std::span(tokens).subspan(first, band.rows);
    first += band.rows;
    for (std::size_t row = 0; row < band.rows; ++row) {
      const float* const x = vectors.vectors.data() + of_band[row] * vectors.rank;
      std::transform(x, x + band.width(), band.tokens.data() + row * band.width(),
                     [&](float value) { return scale * value; });
    }
    if (band.basis.empty() || !options.lattice) continue;
    auto certificate = express_in_lattice(vectors, of_band, band, pool);
    if (certificate) started.lattices.emplace(i, *std::move(certificate));
  }
  return started;
}

}  // namespace cllm::corpus
