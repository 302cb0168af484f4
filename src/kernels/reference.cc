#include "reference.h"

namespace cllm::kernels {

const Kernels& reference_kernels() {
  static const Kernels table = [] {
    Kernels made{};
    made.name = "reference";
    reference::set_math(made);
    reference::set_integers(made);
    reference::set_doubles(made);
    reference::set_layers(made);
    reference::set_norm(made);
    reference::set_attention(made);
    reference::set_loss(made);
    reference::set_optimizer(made);
    return made;
  }();
  return table;
}

}  // namespace cllm::kernels
