#pragma once

#include "cllm/model/layout.h"

namespace cllm::model {

/// Floating-point operations of a training step per token: 6 for each parameter that a matrix
/// product goes through (forward and both backward products; what is only looked up has none), and
/// 6 L D T, with D columns of queries, for causal attention (Kaplan et al., arXiv 2001.08361, 2.1;
/// half of the scores).
double training_flops_per_token(const Layout& layout);

}  // namespace cllm::model
