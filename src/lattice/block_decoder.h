#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/lattice/certificates/certificate.h"
#include "cllm/lattice/nearest_plane.h"
#include "cllm/lattice/weight_lattice.h"

namespace cllm::lattice {

/// Finds lattice points in the metric of one block of columns. Const members are thread-safe.
class WeightLattice::BlockDecoder {
 public:
  virtual ~BlockDecoder() = default;

  /// Coordinates z (count, n), rows `stride` apart, of points near the targets x (count, n), which
  /// are in units of the steps; what LatticeKind says of z. Throws Error where one gets too large.
  virtual void decode(std::span<const float> targets, std::int32_t* coordinates,
                      std::size_t stride) const = 0;
};

/// Each coordinate by itself.
class RoundingDecoder : public WeightLattice::BlockDecoder {
 public:
  explicit RoundingDecoder(std::size_t columns) : columns_(columns) {}
  void decode(std::span<const float> targets, std::int32_t* coordinates,
              std::size_t stride) const override;

 private:
  std::size_t columns_;
};

/// Babai's nearest plane in the basis `lower` (n, n), or in another basis of its lattice,
/// `transform` times it, with the inverse transform.
class PlaneDecoder : public WeightLattice::BlockDecoder {
 public:
  PlaneDecoder(std::span<const double> lower, std::size_t columns);
  PlaneDecoder(std::span<const double> lower, const Certificate& certificate);
  void decode(std::span<const float> targets, std::int32_t* coordinates,
              std::size_t stride) const override;

 private:
  std::size_t columns_;
  NearestPlane plane_;
  std::vector<double> transform_, inverse_;  // (n, n); empty for the basis itself
};

/// Nearest plane with points of E8 for eight columns at a time, from the last eight to the first,
/// in the metric `lower` (n, n); columns that are left beyond the last eight are rounded.
class E8Decoder : public WeightLattice::BlockDecoder {
 public:
  E8Decoder(std::span<const double> lower, std::size_t columns);
  void decode(std::span<const float> targets, std::int32_t* coordinates,
              std::size_t stride) const override;

 private:
  struct Point;
  /// Goes through the planes of the eight columns from `first` on, and keeps the point in `best` if
  /// it is the nearest so far. `moved`: the targets with what the errors of later columns add to
  /// them. `half`: of E8's shifted points; `detour`: the column, 1 to 7, that takes its second
  /// nearest value, or 0 for none. The last plane keeps the parity.
  void try_path(const float* targets, const float* moved, std::size_t first, bool half,
                std::size_t detour, Point& best) const;
  /// Adds to the targets of columns before `before` what they have to make up for.
  void settle(std::size_t column, std::size_t before, float error, float* moved) const;

  std::size_t columns_;
  std::vector<float> feedback_;  // (n, n): what an error adds to targets of earlier columns
  std::vector<float> weights_;   // (n): the squared lengths of the Gram-Schmidt vectors
};

}  // namespace cllm::lattice
