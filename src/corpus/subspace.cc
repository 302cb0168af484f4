#include "cllm/corpus/subspace.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "cllm/base/random.h"
#include "cllm/kernels/eigen.h"
#include "cllm/kernels/products.h"
#include "cllm/ranks/agreement.h"
#include "cllm/ranks/merge.h"

namespace cllm::corpus {
namespace {

using kernels::Transpose;

/// Rows of a factor that are multiplied at a time, and columns of a tile of a Gram matrix.
constexpr std::size_t kRows = 256;
constexpr std::size_t kTile = 64;

/// Streams of random numbers for the rows of the sample; the model's parameters begin with others.
constexpr std::uint64_t kSampleStream = std::uint64_t{0x5ab5} << 48;

/// Below this share of the largest, a singular value of a factor of floats is a rounding error: one
/// that was iterated, and one that is a result.
constexpr double kSmallestIterated = 1e-7;
constexpr double kSmallestResult = 1e-6;

/// What a thread copies parts of a factor to.
struct Room {
  explicit Room(std::size_t columns)
      : left(kRows * kTile), right(kRows * kTile), rows(kRows * columns) {}

  AlignedBuffer<double> left;
  AlignedBuffer<double> right;
  AlignedBuffer<float> rows;
};

/// What the stages of the decomposition share. Factors are (V, k).
class Iteration {
 public:
  Iteration(ranks::ProcessGroup& process_group, ThreadPool& pool, const kernels::Kernels& kernels,
            std::size_t rows, std::size_t columns)
      : process_group_(process_group),
        pool_(pool),
        kernels_(kernels),
        v_(rows),
        k_(columns),
        matrix_(k_ * k_),
        transform_(k_ * k_) {
    for (int i = 0; i < pool.size(); ++i) rooms_.emplace_back(k_);
  }

  /// Normal numbers, the same on all ranks.
  void sample(std::uint64_t seed, AlignedBuffer<float>& x) {
    pool_.deal(blocks(), [&](std::size_t block, std::size_t) {
      for (std::size_t row = block * kRows; row < std::min(v_, (block + 1) * kRows); ++row) {
        RandomStream random(seed, kSampleStream + row);
        for (float& value : x.span().subspan(row * k_, k_)) {
          value = static_cast<float>(random.normal());
        }
      }
    });
  }

  /// Replaces the columns of y by orthonormal ones that span the same, up to the error that
  /// rounding y to float and its condition make. With D the diagonal of G = yᵀy, and
  /// D^-1/2 G D^-1/2 = W Λ Wᵀ, it is y · D^-1/2 W Λ^-1/2 (Stathopoulos and Wu, "A Block
  /// Orthogonalization Procedure with Constant Synchronization Requirements", SIAM J. Sci. Comput.
  /// 23(6), 2002). Of linearly dependent columns some become 0.
  void orthonormalise(AlignedBuffer<float>& y) {
    gram(y);
    std::vector<double> scales(k_);
    for (std::size_t i = 0; i < k_; ++i) {
      const double square = matrix_[i * k_ + i];
      scales[i] = square > 0 ? 1 / std::sqrt(square) : 0;
    }
    for (std::size_t i = 0; i < k_; ++i) {
      for (std::size_t j = 0; j < k_; ++j) matrix_[i * k_ + j] *= scales[i] * scales[j];
    }
    const std::vector<double> values = decompose();
    const double smallest = kSmallestIterated * kSmallestIterated * values[k_ - 1];
    set_transform([&](std::size_t i, std::size_t j) {
      return values[j] > smallest ? scales[i] / std::sqrt(values[j]) : 0.0;
    });
    transform(y);
  }

  /// Where y has orthonormal columns and x = Mᵀ · y: turns both to the left singular vectors of M
  /// that are nearest in their span, times the singular values in x, descending. Returns these.
  /// What is only rounding becomes 0.
  std::vector<double> rotate(AlignedBuffer<float>& x, AlignedBuffer<float>& y) {
    gram(x);
    std::vector<double> values = decompose();
    const double smallest = kSmallestResult * kSmallestResult * values[k_ - 1];
    for (double& value : values) value = value > smallest ? std::sqrt(value) : 0.0;
    std::ranges::reverse(values);
    for (std::size_t j = 0; j < k_ / 2; ++j) {
      std::swap_ranges(&matrix_[j * k_], &matrix_[j * k_] + k_, &matrix_[(k_ - 1 - j) * k_]);
    }
    set_transform([&](std::size_t, std::size_t j) { return values[j] > 0 ? 1.0 : 0.0; });
    transform(x);
    transform(y);
    return values;
  }

  /// last = scale (factor · product - current) - last, element by element.
  void recur(float scale, float factor, const AlignedBuffer<float>& product,
             const AlignedBuffer<float>& current, AlignedBuffer<float>& last) {
    pool_.deal(blocks(), [&](std::size_t block, std::size_t) {
      const std::size_t end = std::min(v_, (block + 1) * kRows) * k_;
      for (std::size_t i = block * kRows * k_; i < end; ++i) {
        last[i] = scale * (factor * product[i] - current[i]) - last[i];
      }
    });
  }

 private:
  std::size_t blocks() const { return (v_ + kRows - 1) / kRows; }

  /// The eigenvalues of matrix_, ascending; its eigenvectors become its rows. Each rank by itself:
  /// all get the same bits.
  std::vector<double> decompose() {
    std::vector<double> values;
    ranks::in_agreement(process_group_, [&] {
      values = kernels::symmetric_eigen(kernels_, pool_, matrix_.span(), k_);
    });
    return values;
  }

  /// matrix_ = xᵀx, in double: tile by tile, each by one thread of one rank, over blocks of rows in
  /// order.
  void gram(const AlignedBuffer<float>& x) {
    struct Tile {
      std::size_t row, column;
    };
    std::vector<Tile> tiles;
    const auto rank = static_cast<std::size_t>(process_group_.rank());
    const auto ranks = static_cast<std::size_t>(process_group_.size());
    std::size_t number = 0;
    for (std::size_t row = 0; row < k_; row += kTile) {
      for (std::size_t column = row; column < k_; column += kTile) {
        if (number++ % ranks == rank) tiles.push_back({row, column});
      }
    }
    matrix_.fill(0);
    pool_.deal(tiles.size(), [&](std::size_t i, std::size_t thread) {
      const auto [row, column] = tiles[i];
      const std::size_t height = std::min(kTile, k_ - row), width = std::min(kTile, k_ - column);
      double* const left = rooms_[thread].left.data();
      double* const right = rooms_[thread].right.data();
      for (std::size_t first = 0; first < v_; first += kRows) {
        const std::size_t rows = std::min(kRows, v_ - first);
        const float* from = x.data() + first * k_;
        for (std::size_t r = 0; r < rows; ++r) {
          std::copy_n(from + r * k_ + row, height, left + r * kTile);
          std::copy_n(from + r * k_ + column, width, right + r * kTile);
        }
        kernels_.add_gram(left, right, kTile, rows, height, width, &matrix_[row * k_ + column], k_);
      }
    });
    merge(process_group_, matrix_.span());
    for (std::size_t row = 0; row < k_; ++row) {
      for (std::size_t column = 0; column < row; ++column) {
        matrix_[row * k_ + column] = matrix_[column * k_ + row];
      }
    }
  }

  /// Column j of the transform is row j of matrix_, element i times factor(i, j).
  template <typename Factor>
  void set_transform(const Factor& factor) {
    for (std::size_t j = 0; j < k_; ++j) {
      for (std::size_t i = 0; i < k_; ++i) {
        transform_[i * k_ + j] = static_cast<float>(matrix_[j * k_ + i] * factor(i, j));
      }
    }
  }

  /// y = y · transform, a block of rows at a time.
  void transform(AlignedBuffer<float>& y) {
    pool_.deal(blocks(), [&](std::size_t block, std::size_t thread) {
      const std::size_t first = block * kRows, rows = std::min(kRows, v_ - first);
      float* const to = y.data() + first * k_;
      float* const from = rooms_[thread].rows.data();
      std::copy_n(to, rows * k_, from);
      kernels::sgemm(Transpose::kNo, Transpose::kNo, rows, k_, k_, 1, from, k_, transform_.data(),
                     k_, 0, to, k_);
    });
  }

  ranks::ProcessGroup& process_group_;
  ThreadPool& pool_;
  const kernels::Kernels& kernels_;
  std::size_t v_;
  std::size_t k_;
  AlignedBuffer<double> matrix_;    // (k, k)
  AlignedBuffer<float> transform_;  // (k, k)
  std::vector<Room> rooms_;         // one per thread
};

/// The sign of a column: that of its largest component.
float sign_of(const AlignedBuffer<float>& y, std::size_t rows, std::size_t columns,
              std::size_t column) {
  float largest = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const float value = y[row * columns + column];
    if (std::abs(value) > std::abs(largest)) largest = value;
  }
  return largest < 0 ? -1.0f : 1.0f;
}

/// The degree of the next filter: the highest that keeps its values, up to T_d(2 λ_1/b - 1), in a
/// range in which what rounding leaves of leading vectors in the others can't drown these.
int degree_of(double ratio, int most) {
  constexpr double kLargest = 1e12;
  const double x = std::max(2 * ratio - 1, 1.0);
  double last = 1, value = x;  // T_0(x) and T_1(x)
  for (int degree = 1; degree < most; ++degree) {
    last = std::exchange(value, 2 * x * value - last);
    if (value > kLargest) return degree;
  }
  return most;
}

}  // namespace

int most_products(const SubspaceOptions& options) {
  return 2 + 2 * options.filters * options.degree;
}

Subspace leading_subspace(ranks::ProcessGroup& process_group, ThreadPool& pool,
                          const kernels::Kernels& kernels, const SparseMatrix& matrix,
                          const SubspaceOptions& options) {
  const std::size_t v = matrix.size, k = std::min(v, options.rank + options.oversampling);
  Subspace result;
  result.singular_values.resize(options.rank);
  std::optional<Iteration> iteration;
  AlignedBuffer<float> x, y, last, product;
  ranks::in_agreement(process_group, [&] {
    result.vectors = AlignedBuffer<float>(v * options.rank);
    iteration.emplace(process_group, pool, kernels, v, k);
    for (AlignedBuffer<float>* buffer : {&x, &y, &last, &product})
      *buffer = AlignedBuffer<float>(v * k);
  });
  const auto multiply_by = [&](Side side, const AlignedBuffer<float>& from,
                               AlignedBuffer<float>& to) {
    multiply(process_group, pool, kernels, matrix.rows, side, from, to, k);
  };
  iteration->sample(options.seed, x);
  multiply_by(Side::kMatrix, x, y);
  std::vector<double> values;
  for (int filter = 0;; ++filter) {
    iteration->orthonormalise(y);
    iteration->orthonormalise(y);  // now to float's precision
    multiply_by(Side::kTransposed, y, x);
    values = iteration->rotate(x, y);
    if (filter == options.filters || values[0] == 0) break;
    // y = T_degree(2/bound M Mᵀ - 1) · y, by the recurrence of Chebyshev's polynomials.
    const double smallest = std::max(values[k - 1], kSmallestResult * values[0]);
    const double bound = smallest * smallest;
    const auto factor = static_cast<float>(2 / bound);
    const int degree = degree_of(values[0] * values[0] / bound, options.degree);
    last.fill(0);
    for (int d = 1; d <= degree; ++d) {
      if (d > 1) multiply_by(Side::kTransposed, y, x);
      multiply_by(Side::kMatrix, x, product);
      iteration->recur(d == 1 ? 1 : 2, factor, product, y, last);
      std::swap(y, last);
    }
  }
  const std::size_t kept = std::min(k, options.rank);
  std::copy_n(values.begin(), kept, result.singular_values.begin());
  for (std::size_t j = 0; j < kept; ++j) {
    const float sign = sign_of(y, v, k, j);
    for (std::size_t row = 0; row < v; ++row) {
      result.vectors[row * options.rank + j] = sign * y[row * k + j];
    }
  }
  return result;
}

}  // namespace cllm::corpus
