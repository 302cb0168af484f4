#include "cllm/model/model.h"

#include <cassert>

#include "pass.h"

namespace cllm::model {

double Model::loss(const float* parameters, const MicroBatch& micro_batch, Workspace& workspace,
                   Scratch& scratch) const {
  assert(micro_batch.rows() <= workspace.rows());
  Team alone(1);
  Recorder recorder;
  const Member me{alone, 0, recorder};
  const Pass pass(layout_, tiling_, *kernels_, parameters, micro_batch, workspace, scratch, me);
  pass.forward();
  pass.head();
  return pass.total_loss();
}

double Model::loss_and_gradient(const float* parameters, const MicroBatch& micro_batch, float scale,
                                Workspace& workspace, Scratch& scratch, GradientSink& sink,
                                const Member& member) const {
  assert(micro_batch.rows() <= workspace.rows());
  assert(workspace.purpose() == Purpose::kTraining);
  const Pass pass(layout_, tiling_, *kernels_, parameters, micro_batch, workspace, scratch, member);
  pass.forward();
  pass.head_backward(scale, sink);
  for (std::size_t l = layout_.config().layers; l-- > 0;) pass.layer_backward(l, sink);
  pass.embedding_backward(sink);
  return pass.total_loss();
}

}  // namespace cllm::model
