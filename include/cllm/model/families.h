#pragma once

#include "cllm/model/network.h"

namespace cllm::model {

/// GPT-2 (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019): learned
/// positions, layer norm before attention and MLP, GELU, biases everywhere, the head tied to the
/// embedding. The embedding may be factorised.
void make_gpt2(Network& network);

}  // namespace cllm::model
