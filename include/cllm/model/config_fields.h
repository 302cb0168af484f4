#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "cllm/model/config.h"

namespace cllm::model {

/// The words that options, checkpoints and messages have for the values of an enumeration.
template <typename Kind>
struct Words;

template <>
struct Words<NormKind> {
  static constexpr std::array kAll = {std::pair{"layer", NormKind::kLayer},
                                      std::pair{"rms", NormKind::kRms},
                                      std::pair{"rms-plain", NormKind::kPlainRms}};
};
template <>
struct Words<PositionKind> {
  static constexpr std::array kAll = {std::pair{"learned", PositionKind::kLearned},
                                      std::pair{"rotary", PositionKind::kRotary}};
};
template <>
struct Words<QkNorm> {
  static constexpr std::array kAll = {std::pair{"none", QkNorm::kNone},
                                      std::pair{"rms", QkNorm::kRms},
                                      std::pair{"rms-plain", QkNorm::kPlainRms}};
};
template <>
struct Words<MlpKind> {
  static constexpr std::array kAll = {std::pair{"gelu", MlpKind::kGelu},
                                      std::pair{"swiglu", MlpKind::kSwiglu},
                                      std::pair{"relu2", MlpKind::kRelu2}};
};
template <>
struct Words<InitialWeights> {
  static constexpr std::array kAll = {
      std::pair{"normal", InitialWeights::kNormal},
      std::pair{"zero-projections", InitialWeights::kZeroProjections}};
};

template <typename Kind>
constexpr std::string_view word_of(Kind wanted) {
  for (const auto& [word, kind] : Words<Kind>::kAll) {
    if (kind == wanted) return word;
  }
  return {};
}

/// Calls visit(name, field of each config...) for the numbers of a shape, under the names that
/// checkpoints have for them. Each of `configs` is a ModelConfig, const or not.
template <typename Visit, typename... Config>
void for_each_size(const Visit& visit, Config&... configs) {
  visit("layers", configs.layers...);
  visit("heads", configs.heads...);
  visit("channels", configs.channels...);
  visit("context", configs.context...);
  visit("vocabulary", configs.vocabulary...);
  visit("embedding_rank", configs.embedding_rank...);
}

/// The same for what each family has of its own: sizes, parts, numbers and switches. Options have
/// these names too, with dashes.
template <typename Visit, typename... Config>
void for_each_part(const Visit& visit, Config&... configs) {
  visit("kv_heads", configs.kv_heads...);
  visit("head_size", configs.head_size...);
  visit("mlp_width", configs.mlp_width...);
  visit("norm", configs.parts.norm...);
  visit("norm_epsilon", configs.parts.norm_epsilon...);
  visit("positions", configs.parts.positions...);
  visit("rope_theta", configs.parts.rope_theta...);
  visit("qk_norm", configs.parts.qk_norm...);
  visit("mlp", configs.parts.mlp...);
  visit("biases", configs.parts.biases...);
  visit("tied", configs.parts.tied...);
  visit("embedding_norm", configs.parts.embedding_norm...);
  visit("softcap", configs.parts.softcap...);
  visit("initial_weights", configs.parts.initial_weights...);
}

/// Calls visit for the numbers of a model's adapters, under the names that checkpoints have for
/// them; not for which matrices have some.
template <typename Visit, typename... Config>
void for_each_lora_number(const Visit& visit, Config&... configs) {
  visit("lora_rank", configs.lora.rank...);
  visit("lora_alpha", configs.lora.alpha...);
}

}  // namespace cllm::model
