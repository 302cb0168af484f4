#include "pass.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>

namespace cllm::model {
namespace {

/// Calls work(item) from the last to the first. (Clang 14 can't read libstdc++'s reversed views.)
template <typename Items, typename Work>
void for_reversed(const Items& items, const Work& work) {
  std::for_each(items.rbegin(), items.rend(), work);
}

}  // namespace

class Pass::Pending {
 public:
  Pending(const Context& context, GradientSink& sink) : x_(context), sink_(sink) {}

  void add(const Stage& stage) { stages_[count_++] = &stage; }

  /// Waits for the team, and gives the gradients of vectors that are complete then.
  void wait() {
    x_.member.wait();
    for (std::size_t i = 0; i < count_; ++i) {
      for (const std::size_t tensor : stages_[i]->vectors) {
        if (x_.member.takes(tensor)) give(tensor);
      }
    }
    count_ = 0;
  }

 private:
  /// Adds up the sums of all blocks.
  void give(std::size_t tensor) {
    const std::size_t size = x_.layout[tensor].size();
    float* const sum = x_.scratch.tile;
    std::memcpy(sum, x_.workspace.vector_sum(tensor, 0), size * sizeof(float));
    for (std::size_t block = 1; block * x_.workspace.token_block() < x_.rows(); ++block) {
      x_.kernels.add(x_.workspace.vector_sum(tensor, block), sum, size);
    }
    sink_.add(x_.tiling.first_of(tensor), 0, sum, size, x_.member.recorder);
  }

  static constexpr std::size_t kMost = 8;  // there is a wait in each layer

  const Context& x_;
  GradientSink& sink_;
  std::array<const Stage*, kMost> stages_{};
  std::size_t count_ = 0;
};

void Pass::forward() const {
  const Span span(x_.member.recorder, Activity::kForward);
  std::size_t group = x_.layout.groups().size();  // that comes, from the last to the first
  wait_for(--group);
  x_.for_own_rows([&](const Rows& rows) { n_.embedding->forward(x_, rows); });
  for (const Block& layer : n_.layers) {
    wait_for(--group);
    forward_through(layer, &Part::forward);
  }
  wait_for(--group);
  forward_through(n_.last, &Part::forward);
}

void Pass::wait_for(std::size_t group) const {
  if (x_.arrivals != nullptr) x_.arrivals->wait_for(group, x_.member.recorder);
}

void Pass::forward_through(const Block& block, Forward way) const {
  for (const Stage& stage : block.stages) {
    if (stage.crosses_rows) {
      x_.member.wait();
      (*stage.parts.front().*way)(x_, {x_.first_row(), x_.rows(), 0});
      x_.member.wait();
    } else {
      x_.for_own_rows([&](const Rows& rows) {
        for (const auto& part : stage.parts) (*part.*way)(x_, rows);
      });
    }
  }
}

void Pass::backward(GradientSink& sink) const {
  Pending pending(x_, sink);
  {
    const Span span(x_.member.recorder, Activity::kLmHead);
    backward_through(n_.last, pending);
  }
  for (std::size_t l = n_.layers.size(); l-- > n_.first_back;) {
    const Span span(x_.member.recorder, Activity::kBackward, static_cast<int>(l));
    if (x_.workspace.recomputes(l)) forward_through(n_.layers[l], &Part::forward_again);
    backward_through(n_.layers[l], pending);
    // Where backward ends before the layer's attention, nobody waited there.
    if (l == n_.first_back && !n_.trains_embedding) pending.wait();
    // All rows of what these are computed of are complete since the last wait.
    for_reversed(n_.layers[l].stages, [&](const Stage& stage) {
      for_reversed(stage.parts, [&](const auto& part) { part->give_weights(x_, sink); });
    });
  }
  if (n_.trains_embedding) return backward_embedding(pending, sink);
  if (n_.first_back == n_.layers.size()) pending.wait();
}

void Pass::backward_through(const Block& block, Pending& pending) const {
  for_reversed(block.stages, [&](const Stage& stage) {
    const std::span<const std::unique_ptr<const Part>> parts =
        std::span(stage.parts).subspan(stage.first_back);
    if (parts.empty()) return;
    if (stage.crosses_rows) {
      pending.wait();
      parts.front()->backward(x_, {x_.first_row(), x_.rows(), 0});
      pending.wait();
    } else {
      x_.for_own_rows([&](const Rows& rows) {
        for_reversed(parts, [&](const auto& part) { part->backward(x_, rows); });
      });
      pending.add(stage);
      if (stage.completes_gradients) pending.wait();
    }
  });
}

void Pass::backward_embedding(Pending& pending, GradientSink& sink) const {
  const Span span(x_.member.recorder, Activity::kBackward, -1);
  x_.for_own_rows([&](const Rows& rows) { n_.embedding->backward(x_, rows); });
  if (x_.member.index == 0) n_.embedding->sort_tokens(x_);
  pending.wait();
  n_.embedding->give_weights(x_, sink);
}

/// Sums in double, so that a micro-batch's loss is as exact as its terms.
double Pass::total_loss() const {
  double sum = 0;
  for (std::size_t row = 0; row < x_.rows(); ++row) {
    sum += static_cast<double>(x_.workspace.losses[row]);
  }
  return sum;
}

}  // namespace cllm::model
