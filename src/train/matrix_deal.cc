#include "cllm/train/matrix_deal.h"

#include <algorithm>
#include <numeric>

#include "cllm/train/orthogonalise.h"

namespace cllm::train {
namespace {

double cost_of(const HiddenMatrix& matrix) {
  return Orthogonaliser::flops(matrix.rows, matrix.columns);
}

/// The matrices of each rank, the largest first.
std::vector<std::vector<std::size_t>> deal(std::span<const HiddenMatrix> matrices,
                                           std::size_t ranks) {
  std::vector<std::size_t> order(matrices.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return cost_of(matrices[a]) > cost_of(matrices[b]);
  });
  std::vector<double> loads(ranks);
  std::vector<std::vector<std::size_t>> of_ranks(ranks);
  for (const std::size_t matrix : order) {
    const auto least = static_cast<std::size_t>(std::ranges::min_element(loads) - loads.begin());
    loads[least] += cost_of(matrices[matrix]);
    of_ranks[least].push_back(matrix);
  }
  return of_ranks;
}

}  // namespace

std::vector<HiddenMatrix> hidden_matrices(const model::Layout& layout) {
  std::vector<HiddenMatrix> matrices;
  for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
    const model::Tensor& tensor = layout[index];
    if (tensor.role != model::Role::kHidden || !tensor.is_trained) continue;
    std::vector<std::size_t> pieces = tensor.pieces;
    if (pieces.empty()) pieces.push_back(tensor.rows);
    std::size_t begin = tensor.offset;
    for (const std::size_t rows : pieces) {
      matrices.push_back({index, begin, rows, tensor.columns});
      begin += matrices.back().size();
    }
  }
  return matrices;
}

MatrixDeal::MatrixDeal(std::span<const HiddenMatrix> matrices, int ranks, std::size_t most_waves)
    : places(matrices.size()) {
  const auto of_ranks = deal(matrices, static_cast<std::size_t>(ranks));
  std::size_t most = 1;
  for (const std::vector<std::size_t>& own : of_ranks) most = std::max(most, own.size());
  waves.assign(std::min(most, most_waves), std::vector<Share>(of_ranks.size()));
  for (std::size_t rank = 0; rank < of_ranks.size(); ++rank) {
    double all = 0, before = 0;
    for (const std::size_t matrix : of_ranks[rank]) all += cost_of(matrices[matrix]);
    for (const std::size_t matrix : of_ranks[rank]) {
      // The wave that its middle falls into, where each has as much to do.
      const double cost = cost_of(matrices[matrix]);
      const auto wave =
          static_cast<std::size_t>((before + cost / 2) / all * static_cast<double>(waves.size()));
      before += cost;
      waves[std::min(wave, waves.size() - 1)][rank].matrices.push_back(matrix);
    }
    for (std::size_t wave = 0; wave < waves.size(); ++wave) {
      Share& share = waves[wave][rank];
      share.part.offset = size;
      for (const std::size_t matrix : share.matrices) {
        places[matrix] = {rank, wave, size};
        size += model::Layout::aligned(matrices[matrix].size());
      }
      share.part.size = size - share.part.offset;
    }
  }
}

std::vector<ranks::Part> MatrixDeal::parts(std::size_t wave) const {
  std::vector<ranks::Part> parts;
  for (const Share& share : waves[wave]) parts.push_back(share.part);
  return parts;
}

}  // namespace cllm::train
