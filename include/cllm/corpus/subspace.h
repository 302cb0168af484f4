#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/thread_pool.h"
#include "cllm/corpus/sparse_rows.h"
#include "cllm/kernels/kernels.h"
#include "cllm/ranks/process_group.h"

namespace cllm::corpus {

/// A sparse matrix (V, V), its rows, and those of its transpose, dealt to ranks.
struct SparseMatrix {
  std::size_t size = 0;  ///< V
  SparseRows rows;
};

struct SubspaceOptions {
  std::size_t rank = 0;           ///< r: vectors wanted
  std::size_t oversampling = 16;  ///< further directions that are iterated
  int filters = 3;                ///< applied one after the other, from a random start
  int degree = 3;                 ///< of a filter, at most
  std::uint64_t seed = 0;
};

/// The leading left singular vectors of a matrix.
struct Subspace {
  AlignedBuffer<float> vectors;         ///< U (V, r), a singular vector in each column
  std::vector<double> singular_values;  ///< (r), descending
};

/// The randomised singular value decomposition of Halko, Martinsson and Tropp, "Finding Structure
/// with Randomness", SIAM Review 53(2), 2011: a random sample of the range (algorithm 4.1), made
/// better by iteration, and a direct decomposition in its span (5.1). Forms nothing of V × V:
/// beside the matrix it takes four arrays of V × k floats, k = min(V, r + oversampling), and some
/// of k × k.
///
/// Note [Chebyshev filter]
/// The spectrum of a PPMI matrix is flat: with 4,096 tokens of English σ_128 is 0.13 of σ_1, and
/// σ_144 still 0.98 of σ_128, so that powers of M Mᵀ, the iteration of algorithm 4.4, take dozens
/// of products to tell them apart. A filter applies T_d(2/b M Mᵀ - 1) instead, with T_d the
/// Chebyshev polynomial and b the smallest Ritz value of the subspace: at most 1 on the unwanted
/// part [0, b], and beyond it, of all such polynomials of the degree, what grows fastest (Zhou,
/// Saad, Tiago, Chelikowsky: "Self-Consistent-Field Calculations Using Chebyshev-Filtered Subspace
/// Iteration", J. Comput. Phys. 219, 2006). Between filters the basis is rotated to Ritz vectors,
/// so that each column has little of the leading vectors, which a filter enlarges most.
///
/// Where the matrix has fewer than r singular values above 1e-6 of the largest, which is where
/// float's rounding begins, the remaining values and vectors are 0, as are those beyond V. Of each
/// vector the largest component is positive (the first of equal ones), which fixes its sign.
///
/// The same bits for any number of ranks and threads: rows of sparse products are summed in one
/// order, and so are sums over rows, in double; k × k matrices are decomposed by each rank. Where
/// the kernels and products have a fixed order, processors of any kind give the same bits. To be
/// called by all ranks. Throws Error where memory is short.
Subspace leading_subspace(ranks::ProcessGroup& process_group, ThreadPool& pool,
                          const kernels::Kernels& kernels, const SparseMatrix& matrix,
                          const SubspaceOptions& options);

/// Sparse products that it takes at most, each of two operations for every element and column.
int most_products(const SubspaceOptions& options);

}  // namespace cllm::corpus
