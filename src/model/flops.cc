#include "cllm/model/flops.h"

namespace cllm::model {

double training_flops_per_token(const Layout& layout) {
  const ModelConfig& c = layout.config();
  std::size_t parameters = layout.parameter_count();
  if (layout.wpe()) parameters -= layout[*layout.wpe()].size();
  if (!c.parts.tied) parameters -= layout[layout.embedding()].size();
  // A factorised embedding's basis is multiplied with twice: with codes and in the head.
  if (c.is_factorised()) parameters += layout[layout.embedding_basis()].size();
  return 6.0 * static_cast<double>(parameters) +
         6.0 * static_cast<double>(c.layers * c.query_width() * c.context);
}

}  // namespace cllm::model
