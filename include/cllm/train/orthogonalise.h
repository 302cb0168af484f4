#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"

namespace cllm::train {

/// Note [Orthogonal updates]
///
/// Muon moves a matrix by U Vᵀ in place of its momentum G = U S Vᵀ: by the nearest matrix with
/// orthonormal rows (or columns, if it has fewer). An odd polynomial of a matrix is that of its
/// singular values, X (XᵀX)^k = U S^(2k+1) Vᵀ, so a few polynomials that move every number in (0,
/// 1] towards 1, one after the other, give U Vᵀ by products alone. They are quintic: with X (m, n),
/// m the smaller side,
///
///     X₀ = G / ‖G‖,  A = X Xᵀ,  B = a I + b A + c A²,  X ← B X
///
/// which is 2 n m² + 2 m³ + 2 n m² FLOP, less what A and A² are spared as symmetric. Where n > 1.25
/// m, X is left alone: all that it is multiplied with are polynomials of A₀ = X₀ X₀ᵀ, which are
/// symmetric and commute, so
///
///     P₀ = B₀,  A ← B A B,  P ← B P,  and in the end X = P X₀
///
/// has four products of m x m an iteration, each half spared, and X in two products in all.
/// Singular values whose squares vanish beside the largest are rounded more roughly so. Where they
/// are many that moves the result by some 10⁻³; the polynomials leave it a hundred times further
/// from U Vᵀ.
///
/// kNewtonSchulz has one set of coefficients for all iterations (Jordan et al., "Muon: An optimizer
/// for hidden layers in neural networks", 2024): (3.4445, -4.7750, 2.0315). After five, what was
/// from 0.002 of the norm upward is between 0.68 and 1.21. kPolarExpress has a set for each
/// iteration, the best that five can be from 0.001 upward (Amsel et al., "The Polar Express", arXiv
/// 2505.16932; with a safety of 2 % and a cushion of 2, as modded-nanogpt and nanochat have them):
/// between 0.84 and 1.15. After the fifth it stays with the last.
///
/// Products are cut into tiles, each a product on one thread, whose shapes depend on the matrix
/// alone, so the bits depend neither on threads nor on what else is being orthogonalised. Of
/// symmetric ones only tiles on and below the diagonal are computed, and mirrored.

/// Which polynomials.
enum class Iteration { kNewtonSchulz, kPolarExpress };

/// x -> a x + b x³ + c x⁵.
struct Quintic {
  double a, b, c;
};

/// That of the `index`th iteration, from 0.
Quintic quintic_of(Iteration iteration, int index);

/// How often it is iterated, as published.
inline constexpr int kIterations = 5;
inline constexpr int kMostIterations = 10;

/// A matrix, row-major and contiguous. A view.
struct MatrixView {
  float* values;
  std::size_t rows, columns;

  std::size_t size() const { return rows * columns; }
};

/// Orthogonalises matrices of known shapes, in place: Note [Orthogonal updates]. Allocates nothing
/// after construction. One thread at a time.
class Orthogonaliser {
 public:
  /// How threads share the matrices of a call: the same bits.
  enum class Sharing {
    kAuto,   ///< kWhole where there are many matrices for each thread, or small ones
    kWhole,  ///< each thread takes a matrix at a time
    kTiles,  ///< all threads take tiles of some matrices at a time
  };
  struct Options {
    Iteration iteration = Iteration::kNewtonSchulz;
    int iterations = kIterations;  ///< from 1 to kMostIterations
    Sharing sharing = Sharing::kAuto;
  };

  /// For `calls`, each a list of matrices that will be orthogonalised together, as large ones
  /// first. Their values must outlive it, as the references must.
  Orthogonaliser(std::vector<std::vector<MatrixView>> calls, const Options& options,
                 const kernels::Kernels& kernels, ThreadPool& pool);

  /// The matrices of a call. A matrix of zeros stays one.
  void run(std::size_t call);

  /// Bytes that one allocates for such calls.
  static std::size_t bytes_for(const std::vector<std::vector<MatrixView>>& calls, Sharing sharing,
                               int threads);

  /// FLOP of one matrix, those that symmetry spares not counted.
  static double flops(std::size_t rows, std::size_t columns, int iterations = kIterations);

 private:
  /// A matrix under way, and where its work lies: the smaller side has m, the other n.
  struct Job {
    MatrixView matrix;
    float* other;  // (m, n): X is in matrix.values and here in turn
    float* gram;   // A (m, m)
    /// B (m, m); where X is left alone, B, P and what they come of in turn.
    float* squares[3];
    double* norms;  // sums of squares of parts of the matrix
  };
  /// Matrices whose tiles are dealt together.
  struct Wave {
    std::size_t begin, end;  // in the call
  };

  static std::vector<Wave> waves_of(const std::vector<MatrixView>& call, Sharing sharing,
                                    int threads);
  static std::size_t work_floats(const std::vector<std::vector<MatrixView>>& calls, Sharing sharing,
                                 int threads);
  static Job job_at(const MatrixView& matrix, float* work);
  int phases() const { return 4 + 4 * options_.iterations; }
  std::size_t tasks(const MatrixView& matrix, int phase) const;
  void take(const Job& job, int phase, std::size_t task) const;
  void start(const Job& job, std::size_t task) const;
  void make_gram(const Job& job, const float* x, std::size_t task) const;
  /// `square` = a I + b A + c A².
  void make_polynomial(const Job& job, const Quintic& quintic, float* square,
                       std::size_t task) const;
  /// A tile of a product of two matrices (m, m) that commute, so that it is symmetric.
  void multiply_symmetric(const Job& job, const float* left, const float* right, float* product,
                          std::size_t task) const;
  void iterate(const Job& job, int iteration, int stage, std::size_t task) const;
  void iterate_beside(const Job& job, int iteration, int stage, std::size_t task) const;
  void multiply(const Job& job, const float* square, const float* x, float* y,
                std::size_t task) const;
  void finish(const Job& job, int phase, std::size_t task) const;
  void run_whole(const std::vector<MatrixView>& matrices);
  void run_wave(const std::vector<MatrixView>& matrices, const Wave& wave);

  std::vector<std::vector<MatrixView>> calls_;
  Options options_;
  const kernels::Kernels& kernels_;
  ThreadPool& pool_;
  std::vector<std::vector<Wave>> waves_;  // per call; none where matrices are taken whole
  AlignedBuffer<float> work_;
  std::size_t thread_work_ = 0;     // floats of it that a thread has, where matrices are whole
  std::vector<Job> jobs_;           // of the wave
  std::vector<std::size_t> first_;  // task of each of them, in the phase
};

}  // namespace cllm::train
