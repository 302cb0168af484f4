#include "cllm/train/ownership.h"

#include <algorithm>
#include <numeric>

#include "cllm/train/matrix_deal.h"
#include "cllm/train/orthogonalise.h"

namespace cllm::train {
namespace {

/// Operations in products that take as long as updating one element, which is bound by memory.
constexpr double kFlopsOfElement = 150;

/// What has one owner.
struct Piece {
  std::size_t begin;  // in a flat buffer
  double cost;        // of its update, in elements
};

/// A contiguous range of a flat buffer in which each rank has one part.
struct Region {
  std::size_t begin, end;
  std::vector<Piece> pieces;
  bool has_whole = false;  // some pieces are matrices
};

void add_matrices(std::span<const HiddenMatrix> matrices, std::size_t tensor, Region& region) {
  region.has_whole = true;
  for (const HiddenMatrix& matrix : matrices) {
    if (matrix.tensor != tensor) continue;
    const double products = Orthogonaliser::flops(matrix.rows, matrix.columns) / kFlopsOfElement;
    region.pieces.push_back({matrix.begin, static_cast<double>(matrix.size()) + products});
  }
}

void add_rows(const model::Tensor& tensor, Region& region) {
  const std::size_t rows = tensor.is_matrix() ? tensor.rows : 1;
  const std::size_t width = tensor.size() / rows;
  for (std::size_t row = 0; row < rows; ++row) {
    region.pieces.push_back({tensor.offset + row * width, static_cast<double>(width)});
  }
}

/// Whether the pieces go to ranks, taken in this order, one after the other, so that none comes to
/// more than `most`. `ends`: past the last piece of each.
bool fits(const Region& region, std::span<const double> loads, std::span<const std::size_t> order,
          double most, std::span<std::size_t> ends) {
  std::size_t next = 0;
  for (const std::size_t rank : order) {
    double load = loads[rank];
    while (next < region.pieces.size() && load + region.pieces[next].cost <= most) {
      load += region.pieces[next++].cost;
    }
    ends[rank] = next;
  }
  return next == region.pieces.size();
}

/// Each rank's part of a region, such that the largest load is as small as contiguous parts allow
/// where those with less to do come first; adds to the loads.
std::vector<ranks::Part> deal(const Region& region, std::vector<double>& loads) {
  constexpr int kHalvings = 40;
  std::vector<std::size_t> order(loads.size()), ends(loads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t rank) { return loads[rank]; });
  double cost = 0;
  for (const Piece& piece : region.pieces) cost += piece.cost;
  double too_little = 0, enough = loads[order.front()] + cost * (1 + 1e-9);
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (too_little + enough) / 2;
    (fits(region, loads, order, middle, ends) ? enough : too_little) = middle;
  }
  fits(region, loads, order, enough, ends);

  std::vector<ranks::Part> parts(loads.size(), {region.end, 0});
  std::size_t first = 0;
  for (const std::size_t rank : order) {
    const std::size_t end = ends[rank];
    if (end == first) continue;
    const std::size_t begin = first == 0 ? region.begin : region.pieces[first].begin;
    const std::size_t after = end < region.pieces.size() ? region.pieces[end].begin : region.end;
    parts[rank] = {begin, after - begin};
    for (; first < end; ++first) loads[rank] += region.pieces[first].cost;
  }
  return parts;
}

ranks::Part intersection(const ranks::Part& part, std::size_t begin, std::size_t end) {
  const std::size_t first = std::clamp(part.offset, begin, end);
  const std::size_t last = std::clamp(part.offset + part.size, begin, end);
  return {first, last - first};
}

}  // namespace

Ownership::Ownership(const model::Layout& layout) : layout_(&layout) {
  for (const model::Tensor& tensor : layout.tensors()) {
    own_.push_back({tensor.offset, tensor.is_trained ? tensor.size() : 0});
  }
}

Ownership::Ownership(const model::Layout& layout, std::span<const Bucket> buckets,
                     bool (*keeps_whole)(model::Role), int ranks, int rank)
    : layout_(&layout), rank_(static_cast<std::size_t>(rank)), region_of_(layout.tensors().size()) {
  std::vector<Region> regions;
  for (const Bucket& bucket : buckets) {
    regions.push_back({bucket.offset, bucket.offset + bucket.size, {}});
  }
  const std::size_t before_all = buckets.empty() ? layout.trained_size() : buckets.front().offset;
  regions.push_back({0, before_all, {}});

  const std::vector<HiddenMatrix> matrices = hidden_matrices(layout);
  std::vector<std::size_t> order(layout.tensors().size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t tensor) { return layout[tensor].offset; });
  for (const std::size_t i : order) {
    const model::Tensor& tensor = layout[i];
    if (!tensor.is_trained) continue;
    const auto region = std::ranges::find_if(regions, [&](const Region& r) {
      return tensor.offset >= r.begin && tensor.offset < r.end;
    });
    region_of_[i] = static_cast<std::size_t>(region - regions.begin());
    if (keeps_whole(tensor.role)) {
      add_matrices(matrices, i, *region);
    } else {
      add_rows(tensor, *region);
    }
  }

  // What is cut finely comes last, and evens out what matrices left uneven.
  std::vector<double> loads(static_cast<std::size_t>(ranks));
  parts_.resize(regions.size());
  for (const bool whole : {true, false}) {
    for (std::size_t r = 0; r < regions.size(); ++r) {
      if (regions[r].has_whole == whole) parts_[r] = deal(regions[r], loads);
    }
  }
  for (std::size_t i = 0; i < region_of_.size(); ++i) {
    own_.push_back(of(static_cast<std::size_t>(rank), i));
  }
}

std::span<const ranks::Part> Ownership::bucket(std::size_t bucket) const {
  return is_sharded() ? std::span<const ranks::Part>(parts_[bucket])
                      : std::span<const ranks::Part>();
}

std::span<const ranks::Part> Ownership::table() const {
  return is_sharded() ? std::span<const ranks::Part>(parts_.back())
                      : std::span<const ranks::Part>();
}

ranks::Part Ownership::of(std::size_t rank, std::size_t tensor) const {
  const model::Tensor& t = (*layout_)[tensor];
  if (!t.is_trained) return {t.offset, 0};
  return intersection(parts_[region_of_[tensor]][rank], t.offset, t.offset + t.size());
}

}  // namespace cllm::train
