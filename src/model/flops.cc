#include "cllm/model/flops.h"

namespace cllm::model {

double training_flops_per_token(const Layout& layout) {
  const ModelConfig& c = layout.config();
  std::size_t parameters = layout.parameter_count();
  if (layout.wpe()) parameters -= layout[*layout.wpe()].size();
  for (const TableBand& band : layout.embedding()) {
    if (layout.is_tied()) break;
    parameters -= layout[band.tensor].size();
    if (band.basis) parameters -= layout[*band.basis].size();
  }
  // The head multiplies with all bases, and an input with that of its band: of bands of frequency
  // nearly always the first.
  const TableBand& usual = layout.embedding().front();
  if (usual.basis) parameters += layout[*usual.basis].size();
  return 6.0 * static_cast<double>(parameters) +
         6.0 * static_cast<double>(c.layers * c.query_width() * c.context);
}

}  // namespace cllm::model
