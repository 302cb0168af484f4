#pragma once

#include "attention_body.h"
#include "doubles_body.h"
#include "integers_body.h"
#include "layernorm_body.h"
#include "layers_body.h"
#include "loss_body.h"
#include "math_body.h"
#include "optimizer_body.h"
#include "rmsnorm_body.h"
#include "rotate_body.h"

namespace cllm::kernels {
namespace {

/// All kernels of one implementation but `shared_weight`, which knows AVX2's registers.
inline void set_all(Kernels& table) {
  set_math(table);
  set_integers(table);
  set_doubles(table);
  set_layers(table);
  set_layernorm(table);
  set_rmsnorm(table);
  set_rotate(table);
  set_attention(table);
  set_loss(table);
  set_optimizer(table);
}

}  // namespace
}  // namespace cllm::kernels
