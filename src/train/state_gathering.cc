#include "cllm/train/state_gathering.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

namespace cllm::train {
namespace {

/// What rank 0 asks for: all that the rank owns of a tensor.
struct Request {
  std::uint64_t buffer, tensor;
};

/// In place of a buffer: that nothing more is asked for.
constexpr std::uint64_t kEnd = std::numeric_limits<std::uint64_t>::max();

/// Floats of a message.
constexpr std::size_t kPieceFloats = std::size_t{1} << 18;

}  // namespace

StateGathering::StateGathering(const model::Layout& layout, const Ownership& ownership,
                               ranks::ProcessGroup& process_group)
    : layout_(layout),
      ownership_(ownership),
      ranks_(process_group.size()),
      courier_(process_group.courier()),
      piece_(process_group.rank() == 0 ? kPieceFloats : 0) {}

void StateGathering::give(std::span<const StateBuffer> own, std::size_t buffer, std::size_t tensor,
                          const io::TakeFloats& take) {
  std::vector<std::pair<ranks::Part, int>> owners;
  for (int rank = 0; rank < ranks_; ++rank) {
    const ranks::Part part = ownership_.of(static_cast<std::size_t>(rank), tensor);
    if (part.size > 0) owners.emplace_back(part, rank);
  }
  std::ranges::sort(owners, {}, [](const auto& owner) { return owner.first.offset; });
  for (const auto& owner : owners) {
    const std::size_t first = owner.first.offset - layout_[tensor].offset;
    if (owner.second == 0) {
      take(first, own[buffer].of(tensor));
      continue;
    }
    const Request request{buffer, tensor};
    courier_->send(owner.second, std::as_bytes(std::span(&request, 1)));
    for (std::size_t done = 0; done < owner.first.size; done += piece_.size()) {
      const std::span<float> piece =
          std::span(piece_).first(std::min(piece_.size(), owner.first.size - done));
      courier_->receive(owner.second, std::as_writable_bytes(piece));
      take(first + done, piece);
    }
  }
}

void StateGathering::end() {
  const Request request{kEnd, 0};
  for (int rank = 1; rank < ranks_; ++rank) {
    courier_->send(rank, std::as_bytes(std::span(&request, 1)));
  }
}

void StateGathering::serve(std::span<const StateBuffer> own) {
  for (;;) {
    Request request{};
    courier_->receive(0, std::as_writable_bytes(std::span(&request, 1)));
    if (request.buffer == kEnd) return;
    const std::span<const float> values = own[request.buffer].of(request.tensor);
    for (std::size_t done = 0; done < values.size(); done += kPieceFloats) {
      courier_->send(
          0, std::as_bytes(values.subspan(done, std::min(kPieceFloats, values.size() - done))));
    }
  }
}

StateSender::StateSender(StateGathering& gathering, const model::Layout& layout,
                         std::span<const BufferSpec> buffers, ThreadPool& pool, bool background)
    : gathering_(gathering), pool_(pool) {
  if (!background) return;
  for (const BufferSpec& spec : buffers) copies_.emplace_back(layout, spec, gathering.ownership());
}

void StateSender::save(const State& state) {
  wait();
  if (copies_.empty()) return gathering_.serve(state.buffers);
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    copy(state.buffers[i].values(), copies_[i].values(), pool_);
  }
  serving_ = std::async(std::launch::async, [this] { gathering_.serve(copies_); });
}

void StateSender::wait() {
  if (serving_.valid()) serving_.get();
}

}  // namespace cllm::train
