#include "portable.h"

namespace cllm::kernels {

const Kernels& portable_kernels() {
  static const Kernels table = [] {
    Kernels made{};
    made.name = "portable";
    portable::set_math(made);
    portable::set_integers(made);
    portable::set_layers(made);
    portable::set_norm(made);
    portable::set_attention(made);
    portable::set_loss(made);
    portable::set_optimizer(made);
    return made;
  }();
  return table;
}

}  // namespace cllm::kernels
