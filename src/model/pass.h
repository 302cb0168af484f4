#pragma once

#include <cstddef>

#include "cllm/model/network.h"

namespace cllm::model {

/// One member's way through the list of parts with one micro-batch; Note [Teams].
class Pass {
 public:
  Pass(const Network& network, const Context& context) : n_(network), x_(context) {}

  /// From the tokens to the head's input.
  void forward() const;
  /// From the gradient by the head's input, which is in place, to the embedding.
  void backward(GradientSink& sink) const;
  /// Of all positions. Valid once the team has waited after the losses were computed.
  double total_loss() const;

 private:
  /// Stages that are through backward, but not yet known to be for all members.
  class Pending;

  /// Returns once the group's parameters are there.
  void wait_for(std::size_t group) const;

  using Forward = void (Part::*)(const Context& context, const Rows& rows) const;
  void forward_through(const Block& block, Forward way) const;
  void backward_through(const Block& block, Pending& pending) const;
  void backward_embedding(Pending& pending, GradientSink& sink) const;

  const Network& n_;
  const Context& x_;
};

}  // namespace cllm::model
