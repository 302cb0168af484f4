#pragma once

#include <cstddef>

#include "cllm/base/team.h"
#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/arrivals.h"
#include "cllm/model/gradient.h"
#include "cllm/model/layout.h"
#include "cllm/model/network.h"
#include "cllm/model/workspace.h"

namespace cllm::model {

/// The model as functions of parameters; holds no state but its layout and its parts. Thread-safe
/// for distinct workspaces and sinks.
class Model {
 public:
  Model(const ModelConfig& config, const kernels::Kernels& kernels, const Freeze& freeze = {})
      : layout_(config, freeze), tiling_(layout_), network_(layout_), kernels_(&kernels) {}
  Model(const Model&) = delete;  // parts refer to the layout
  Model& operator=(const Model&) = delete;

  const Layout& layout() const { return layout_; }
  const Tiling& tiling() const { return tiling_; }
  const Network& network() const { return network_; }

  /// Sum over the micro-batch's positions of the cross-entropy, in nats. On one thread.
  double loss(const float* parameters, const MicroBatch& micro_batch, Workspace& workspace,
              Scratch& scratch) const;

  /// The same sum; gives the gradient of `scale` times that sum, by what is trained, to `sink`.
  /// Every member of a team calls it, with the team's workspace and sink and a scratch of its own,
  /// and all return the sum once the whole gradient was given. The same bits for any size of the
  /// team. Before the micro-batch or the workspace is used for anything else the team must wait.
  /// `arrivals`: of parameters that are not there yet, if there are any.
  double loss_and_gradient(const float* parameters, const MicroBatch& micro_batch, float scale,
                           Workspace& workspace, Scratch& scratch, GradientSink& sink,
                           const Member& member, Arrivals* arrivals = nullptr) const;

  /// The logits (V) of what follows the micro-batch's last position, in the workspace; of tokens
  /// after its past. On this thread, and for products on those of `helpers`, where there are any;
  /// the same bits for any number of them.
  const float* predict_next(const float* parameters, const MicroBatch& micro_batch,
                            Workspace& workspace, Scratch& scratch,
                            ThreadPool* helpers = nullptr) const;

 private:
  Layout layout_;
  Tiling tiling_;
  Network network_;
  const kernels::Kernels* kernels_;
};

}  // namespace cllm::model
