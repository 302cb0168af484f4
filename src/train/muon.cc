#include "cllm/train/muon.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cllm/train/width.h"

namespace cllm::train {
namespace {

/// How often updates are sent in a step. More of them hide more, but each has its latency.
constexpr std::size_t kWaves = 4;

/// Those that this rank owns.
std::vector<HiddenMatrix> own_matrices(const model::Layout& layout, const Ownership& ownership) {
  std::vector<HiddenMatrix> matrices = hidden_matrices(layout);
  std::erase_if(matrices, [&](const HiddenMatrix& matrix) {
    return !ownership.owns(matrix.tensor, matrix.begin);
  });
  return matrices;
}

/// This rank's matrices, by waves.
std::vector<std::vector<MatrixView>> views_of(std::span<const HiddenMatrix> matrices,
                                              const MatrixDeal& deal, int rank, float* updates) {
  std::vector<std::vector<MatrixView>> calls;
  for (const std::vector<MatrixDeal::Share>& wave : deal.waves) {
    std::vector<MatrixView>& views = calls.emplace_back();
    for (const std::size_t i : wave[static_cast<std::size_t>(rank)].matrices) {
      float* const values = updates == nullptr ? nullptr : updates + deal.places[i].at;
      views.push_back({values, matrices[i].rows, matrices[i].columns});
    }
  }
  return calls;
}

std::vector<std::vector<ranks::Part>> parts_of(const MatrixDeal& deal) {
  std::vector<std::vector<ranks::Part>> waves;
  for (std::size_t wave = 0; wave < deal.waves.size(); ++wave) waves.push_back(deal.parts(wave));
  return waves;
}

std::vector<std::size_t> first_of_tensors(std::span<const HiddenMatrix> matrices,
                                          std::size_t tensors) {
  std::vector<std::size_t> first(tensors);
  for (std::size_t i = matrices.size(); i-- > 0;) first[matrices[i].tensor] = i;
  return first;
}

}  // namespace

double Muon::momentum_at(double momentum, std::uint64_t updates) {
  if (momentum <= kFirstMomentum || updates >= kMomentumWarmup) return momentum;
  const double share = static_cast<double>(updates) / static_cast<double>(kMomentumWarmup);
  return kFirstMomentum + share * (momentum - kFirstMomentum);
}

MatrixDeal Muon::deal(std::span<const HiddenMatrix> matrices, int ranks) {
  return {matrices, ranks, ranks == 1 ? 1 : kWaves};
}

Muon::Muon(const OptimizerParts& parts, const OptimizerOptions& options)
    : parts_(parts),
      options_(options),
      others_(parts, options, is_other),
      sharers_(parts.ownership.is_sharded() ? alone_ : parts.process_group),
      matrices_(own_matrices(parts.layout, parts.ownership)),
      deal_(deal(matrices_, sharers_.size())),
      chunks_(parts.rows.of(parts.layout, is_hidden, parts.ownership)),
      first_of_tensor_(first_of_tensors(matrices_, parts.layout.tensors().size())),
      updates_(deal_.size),
      orthogonaliser_(views_of(matrices_, deal_, sharers_.rank(), updates_.data()),
                      {.iteration = options.muon_iteration}, parts.kernels, parts.pool),
      sender_(sharers_, updates_.span(), parts_of(deal_)) {}

std::uint64_t Muon::work_bytes(const model::Layout& layout, int threads, const Ownership& ownership,
                               const ranks::ProcessGroup& process_group) {
  const ranks::SingleProcess alone;
  const ranks::ProcessGroup& sharers = ownership.is_sharded() ? alone : process_group;
  const std::vector<HiddenMatrix> matrices = own_matrices(layout, ownership);
  const MatrixDeal deal = Muon::deal(matrices, sharers.size());
  return deal.size * sizeof(float) +
         Orthogonaliser::bytes_for(views_of(matrices, deal, sharers.rank(), nullptr),
                                   Orthogonaliser::Sharing::kAuto, threads);
}

void Muon::update(const SummedGradient& gradient, double learning_rate, double scale,
                  State& state) {
  const double momentum = momentum_at(options_.muon_momentum, state.updates);
  find_directions(gradient, static_cast<float>(momentum), scale, state);
  for (std::size_t wave = 0; wave < deal_.waves.size(); ++wave) {
    orthogonaliser_.run(wave);
    sender_.send();
  }
  // While the last wave travels.
  others_.update(gradient, learning_rate, scale, state, state.buffers[1], state.buffers[2]);
  sender_.wait();
  apply(learning_rate, state.parameters);
}

Optimizer::Communication Muon::communication() const {
  return {.exposed = sender_.waited_seconds(),
          .hidden = std::max(0.0, sender_.seconds() - sender_.waited_seconds())};
}

/// visit(row, matrix, update): for rows of a chunk, with the matrix that each is in and where its
/// update lies.
template <typename Visit>
void Muon::for_each_row(const RowChunks::Chunk& chunk, const Visit& visit) const {
  std::size_t i = first_of_tensor_[chunk.tensor];
  for (std::size_t row = chunk.first_row; row < chunk.end_row; ++row) {
    const SumRow& place = parts_.rows.rows[row];
    while (place.at >= matrices_[i].begin + matrices_[i].size()) ++i;
    visit(place, matrices_[i], deal_.places[i].at + (place.at - matrices_[i].begin));
  }
}

/// Takes the momentum of all matrices on, and puts G where the updates will lie.
void Muon::find_directions(const SummedGradient& gradient, float momentum, double scale,
                           State& state) {
  constexpr bool kNesterov = true;
  StateBuffer& buffer = state.buffers[0];
  parts_.pool.share(chunks_.size(), [&](std::size_t c, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    for_each_row(chunks_[c], [&](const SumRow& place, const HiddenMatrix&, std::size_t update) {
      visit_row(gradient, place, scale,
                [&](std::size_t first, const auto* values, std::size_t count, float factor) {
                  const auto kernel = [&] {
                    if constexpr (std::is_same_v<decltype(values), const float*>) {
                      return parts_.kernels.momentum;
                    } else {
                      return parts_.kernels.momentum_integers;
                    }
                  }();
                  kernel(buffer.at(chunks_[c].tensor, place.at + first), values,
                         updates_.data() + update + first, momentum, factor, kNesterov, count);
                });
    });
  });
}

void Muon::apply(double learning_rate, AlignedBuffer<float>& parameters) {
  const auto rate = static_cast<float>(learning_rate);
  const auto decay = static_cast<float>(options_.weight_decay);
  const double factor =
      kUpdateSize * (options_.scales_with_width ? muon_width_factor(parts_.layout.config()) : 1.0);
  parts_.pool.share(chunks_.size(), [&](std::size_t c, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    for_each_row(chunks_[c], [&](const SumRow& place, const HiddenMatrix& matrix, std::size_t at) {
      const auto longer = static_cast<double>(std::max(matrix.rows, matrix.columns));
      const auto size = static_cast<float>(factor * std::sqrt(longer));
      const float* const update = updates_.data() + at;
      float* const w = parameters.data() + place.at;
      parts_.change(place, w, place.size, [&](std::size_t first, std::size_t count) {
        for (std::size_t i = first; i < first + count; ++i) {
          w[i] -= rate * (size * update[i] + decay * w[i]);
        }
      });
    });
  });
}

}  // namespace cllm::train
