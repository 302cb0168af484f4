#include "cllm/model/flops.h"

namespace cllm::model {

double training_flops_per_token(const Layout& layout) {
  const ModelConfig& c = layout.config();
  // A factorised embedding's basis is multiplied with twice: with codes and in the head.
  const std::size_t parameters = layout.parameter_count() - layout[layout.wpe()].size() +
                                 (c.is_factorised() ? layout[layout.embedding_basis()].size() : 0);
  return 6.0 * static_cast<double>(parameters) +
         6.0 * static_cast<double>(c.layers * c.channels * c.context);
}

}  // namespace cllm::model
