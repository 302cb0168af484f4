#pragma once

#include <cmath>

#include "cllm/model/config.h"
#include "cllm/model/layout.h"

namespace cllm::train {

/// Note [Width]
///
/// A rate that is the best for a small model is too large for one with more channels: each number
/// of an update is as large as before, but a product adds up more of them, which point the same
/// way. What an update changes in the outputs stays the same where rates of matrices between
/// activations, and of an output layer, fall with the number of their inputs (Yang et al., arXiv
/// 2203.03466), and the largest singular value of an orthogonal update doesn't grow (Yang, Simon
/// and Bernstein, arXiv 2310.17813): Muon's, whose numbers all have one size, has that times the
/// root of the channels. Embeddings are looked up, not multiplied with, and vectors neither: their
/// rates stay.
///
/// Factors are 1 at kUsualChannels, so that a rate means what it means there.
inline constexpr double kUsualChannels = 256;

/// Of AdamW's rate, for tensors of a role.
inline double adamw_width_factor(model::Role role, const model::ModelConfig& config) {
  const bool is_multiplied = role == model::Role::kHidden || role == model::Role::kHead;
  return is_multiplied ? kUsualChannels / static_cast<double>(config.channels) : 1.0;
}

/// Of Muon's rate.
inline double muon_width_factor(const model::ModelConfig& config) {
  return std::sqrt(kUsualChannels / static_cast<double>(config.channels));
}

}  // namespace cllm::train
