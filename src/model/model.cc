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
  const Context context{layout_,     tiling_,   *kernels_, parameters,
                        micro_batch, workspace, scratch,   me};
  const Pass pass(network_, context);
  pass.forward();
  {
    const Span span(recorder, Activity::kLmHead);
    network_.head->losses(context);
  }
  return pass.total_loss();
}

double Model::loss_and_gradient(const float* parameters, const MicroBatch& micro_batch, float scale,
                                Workspace& workspace, Scratch& scratch, GradientSink& sink,
                                const Member& member, Arrivals* arrivals) const {
  assert(micro_batch.rows() <= workspace.rows());
  assert(workspace.purpose() == Purpose::kTraining);
  const Context context{layout_,   tiling_, *kernels_, parameters, micro_batch,
                        workspace, scratch, member,    nullptr,    arrivals};
  const Pass pass(network_, context);
  pass.forward();
  {
    const Span span(member.recorder, Activity::kLmHead);
    network_.head->backward(context, scale, sink);
  }
  pass.backward(sink);
  return pass.total_loss();
}

const float* Model::predict_next(const float* parameters, const MicroBatch& micro_batch,
                                 Workspace& workspace, Scratch& scratch,
                                 ThreadPool* helpers) const {
  assert(micro_batch.rows() <= workspace.rows() && micro_batch.sequences == 1);
  Team alone(1);
  Recorder recorder;
  const Member me{alone, 0, recorder};
  const Context context{layout_,   tiling_, *kernels_, parameters, micro_batch,
                        workspace, scratch, me,        helpers};
  Pass(network_, context).forward();
  network_.head->predict(context, {micro_batch.rows() - 1, 1, 0}, workspace.logits);
  return workspace.logits;
}

}  // namespace cllm::model
