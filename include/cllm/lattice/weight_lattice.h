#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/lattice/certificates/certificate.h"
#include "cllm/lattice/coordinates.h"

namespace cllm::lattice {

/// How a lattice point near a row of weights is found.
enum class Method {
  kRounding,      ///< each weight by itself
  kBabai,         ///< nearest plane, column by column
  kReducedBabai,  ///< nearest plane in an LLL-reduced basis
  kE8             ///< nearest plane, with a point of E8 for eight columns at a time
};

/// Its name on the command line and in files: "rounding", "babai", "lll", "e8".
std::string_view name_of(Method method);
/// The lattice whose coordinates it gives.
LatticeKind kind_of(Method method);

/// How far apart values are.
enum class Spacing {
  kEqual,  ///< the same step in all of a matrix
  kShaped  ///< by what errors cost, Note [Weight lattices]
};

/// The step at row r and column c of a matrix is `step` times 2^(-(rows[r] + columns[c]) / 8):
/// bytes tell how far apart the values are.
struct MatrixSteps {
  float step = 0;                     ///< where both exponents are 0
  std::vector<std::uint8_t> rows;     ///< (rows)
  std::vector<std::uint8_t> columns;  ///< (columns)

  /// The steps of a matrix with exponents `of`, in units of the step where they are 0. The same
  /// bits on any machine.
  static std::vector<float> relative(std::span<const std::uint8_t> of);
  /// The weights (rows, columns) that coordinates stand for. The same bits on any machine.
  void dequantize(std::span<const std::int32_t> coordinates, LatticeKind kind,
                  std::span<float> weights) const;
};

/// Note [Weight lattices]
///
/// A matrix W (out, in) is stored as points q of a lattice, one for each row w, that make
/// (w - q) H (w - q)ᵀ small, H being the covariance of its inputs: the squared error of the output.
/// With H = L Lᵀ this is |(w - q) L|², so q L should be a near point, to w L, of the lattice that
/// diag(steps) L spans. Babai's nearest plane finds one column by column from the last to the
/// first, each making up for the errors of those before it; that is GPTQ (Frantar et al.,
/// arXiv 2210.17323; the equivalence: Chen et al., arXiv 2507.18553; Birnick, arXiv 2508.01077).
/// Its mean squared error is 1/12 of the sum of |b*_i|², b*_i the Gram-Schmidt vectors, of length
/// step_i L_ii. A bit rate fixes the product of the steps, so the sum is least where all |b*_i| are
/// equal, step_i ~ 1/L_ii (Spacing::kShaped; Lifar et al., arXiv 2603.04956, has the theory). With
/// equal steps they are not, and LLL evens them out as far as a change of basis can: that is all it
/// can do for the nearest plane.
/// E8 wins what remains between a cube and a rounder cell: 0.0717 in place of 1/12 (Conway and
/// Sloane, "Sphere Packings, Lattices and Groups", table 2.3). A block of eight columns takes the
/// best of the paths through its planes that keep the parity of E8.
/// Plain rounding sees only the diagonal of H: with shaped spacing, step_i ~ 1/sqrt(H_ii).
/// Where errors of some rows cost more than of others, by weights, the same holds for rows: with
/// shaped spacing the step of a row goes with 1/sqrt(weight).
///
/// The point is stored in the coordinates of diag(steps) Z^n or E8 whatever basis it was found in:
/// the transform that LLL finds is unimodular, so it is the same lattice, and weights are least
/// correlated, hence cheapest to code, in the columns that they came in: at 4 bits, coordinates in
/// the reduced bases of a small model's matrices took up to 1.3 bits more.
class WeightLattice {
 public:
  struct Options {
    Method method = Method::kE8;
    Spacing spacing = Spacing::kShaped;
    /// Added to the diagonal of H, times its mean: of directions that the calibration text hardly
    /// showed, nothing is to be believed.
    double damping = 0.01;
    /// Columns that one reduced basis spans; a multiple of 8.
    std::size_t block = 64;
  };

  /// `covariance` (n, n) is symmetric and positive semidefinite; `row_weights` (m) are above 0.
  /// Throws Error, a clause without a subject, where they are not, or not finite.
  WeightLattice(std::span<const double> covariance, std::span<const double> row_weights,
                const Options& options);
  WeightLattice(WeightLattice&&) noexcept;
  ~WeightLattice();

  std::size_t rows() const { return row_weights_.size(); }
  std::size_t columns() const { return columns_; }
  LatticeKind kind() const { return kind_of(options_.method); }

  /// Steps with which a cell of the lattice is a cube of side `side` in the metric: shaped, row r
  /// and column c have side / (sqrt(weight_r) |b*_c|), but for the rounding of exponents; equal,
  /// all have the geometric mean of these. Babai's expected error is side² / 12 a weight.
  MatrixSteps steps(double side) const;

  /// Coordinates (m, n) of points near the weights (m, n), rows on their own. Throws Error, a
  /// clause without a subject, where a coordinate gets too large.
  void quantize(std::span<const float> weights, const MatrixSteps& steps, int threads,
                std::span<std::int32_t> coordinates) const;

  /// The sum over rows of weight_r e_r H e_rᵀ, without damping, for e (m, n).
  double energy(std::span<const float> values, int threads) const;

  /// For kReducedBabai, a certificate for each block of columns, in order: of the basis diag(steps)
  /// L of the block.
  std::span<const Certificate> certificates() const { return certificates_; }

  /// How a block of columns is decoded; see the source.
  class BlockDecoder;

 private:
  void choose_exponents(std::span<const double> lower);
  void prepare_blocks(std::span<const double> lower);
  std::size_t block_end(std::size_t begin) const;

  std::size_t columns_;
  Options options_;
  std::vector<double> row_weights_;
  double micro_batch_ = 1;           // the step that goes with side 1 where both exponents are 0
  MatrixSteps shape_;                // exponents alone
  AlignedBuffer<float> covariance_;  // (n, n)
  /// (n, n): what the error at a row's column adds to the target of an earlier block's column.
  AlignedBuffer<float> feedback_;
  std::vector<std::unique_ptr<BlockDecoder>> decoders_;
  std::vector<Certificate> certificates_;
};

}  // namespace cllm::lattice
