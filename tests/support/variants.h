#pragma once

#include <algorithm>
#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cllm/model/families.h"

/// Models of every family, and of parts that no family puts together.
namespace cllm::support {

/// A model under a name that a test may have too.
struct Variant {
  std::string name;
  model::ModelConfig config;
};

inline void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

/// The name of a test whose parameter has one.
struct NameOfParameter {
  template <typename Test>
  std::string operator()(const Test& test) const {
    return test.param.name;
  }
};

/// A shape with the parts of a family.
inline model::ModelConfig of_family(model::ModelConfig shape, std::string_view family) {
  shape.family = model::find_family(family).name;
  shape.parts = model::find_family(family).parts;
  return shape;
}

/// A shape in every family.
inline std::vector<Variant> all_families(const model::ModelConfig& shape) {
  std::vector<Variant> variants;
  for (const model::Family& family : model::families()) {
    variants.push_back({std::string(family.name), of_family(shape, family.name)});
  }
  return variants;
}

/// The same with adapters.
inline model::ModelConfig with_lora(model::ModelConfig config, std::size_t rank, double alpha,
                                    std::string_view targets = "all") {
  const bool has_gates = config.parts.mlp == model::MlpKind::kSwiglu;
  config.lora = {rank, alpha, model::projections_of(targets, has_gates)};
  return config;
}

/// The same with bands of frequency: one token whose row is dense, a third of the others with codes
/// of half the width, the rest with codes of a quarter.
inline model::ModelConfig with_bands(model::ModelConfig config) {
  const std::size_t third = config.vocabulary / 3;
  const auto part = [&](std::size_t of) { return std::max<std::size_t>(1, config.channels / of); };
  config.bands = {{{{1, part(1)}, {third, part(2)}, {0, part(4)}}}, 3};
  return config;
}

/// A shape in every family, and with single parts of other families. Heads must be of an even size.
inline std::vector<Variant> all_variants(const model::ModelConfig& shape) {
  using model::MlpKind, model::ModelConfig, model::NormKind, model::PositionKind, model::QkNorm;
  std::vector<Variant> variants = all_families(shape);
  const auto add = [&](std::string name, std::string_view family, const auto& change) {
    ModelConfig config = of_family(shape, family);
    change(config);
    variants.push_back({std::move(name), config});
  };
  add("gpt2_swiglu", "gpt2", [](ModelConfig& c) { c.parts.mlp = MlpKind::kSwiglu; });
  add("gpt2_relu2", "gpt2", [](ModelConfig& c) { c.parts.mlp = MlpKind::kRelu2; });
  add("gpt2_qk_norm", "gpt2", [](ModelConfig& c) { c.parts.qk_norm = QkNorm::kRms; });
  add("gpt2_plain_qk_norm", "gpt2", [](ModelConfig& c) { c.parts.qk_norm = QkNorm::kPlainRms; });
  add("gpt2_rotary", "gpt2", [](ModelConfig& c) { c.parts.positions = PositionKind::kRotary; });
  add("gpt2_no_biases", "gpt2", [](ModelConfig& c) { c.parts.biases = false; });
  add("gpt2_untied", "gpt2", [](ModelConfig& c) { c.parts.tied = false; });
  add("gpt2_softcap", "gpt2", [](ModelConfig& c) { c.parts.softcap = 4; });
  add("gpt2_embedding_norm", "gpt2", [](ModelConfig& c) { c.parts.embedding_norm = true; });
  add("gpt2_rms", "gpt2", [](ModelConfig& c) { c.parts.norm = NormKind::kRms; });
  add("gpt2_plain_rms", "gpt2", [](ModelConfig& c) { c.parts.norm = NormKind::kPlainRms; });
  add("gpt2_narrow_mlp", "gpt2", [](ModelConfig& c) { c.mlp_width = c.channels / 2 + 1; });
  add("gpt2_codes_rotary", "gpt2", [](ModelConfig& c) {
    c.parts.positions = PositionKind::kRotary;
    c.embedding_rank = c.channels / 2;
  });
  add("gpt2_codes_embedding_norm", "gpt2", [](ModelConfig& c) {
    c.parts.embedding_norm = true;
    c.parts.softcap = 5;
    c.embedding_rank = c.channels / 2;
  });
  add("gpt2_bands", "gpt2", [](ModelConfig& c) { c = with_bands(c); });
  add("gpt2_bands_untied_softcap", "gpt2", [](ModelConfig& c) {
    c = with_bands(c);
    c.parts.tied = false;
    c.parts.softcap = 4;
  });
  add("gpt2_dense_bands", "gpt2", [](ModelConfig& c) {
    c.bands = {{{{c.vocabulary / 2, c.channels}, {0, c.channels}}}, 2};
  });
  add("llama_bands", "llama", [](ModelConfig& c) {
    c = with_bands(c);
    c.parts.embedding_norm = true;
  });
  add("qwen3_bands_untied", "qwen3", [](ModelConfig& c) {
    c = with_bands(c);
    c.parts.tied = false;
  });
  add("qwen3_band_of_codes", "qwen3", [](ModelConfig& c) {
    c.bands = {{{{0, c.channels / 2 + 1}}}, 1};
    c.parts.tied = false;
  });
  add("llama_codes_untied", "llama", [](ModelConfig& c) {
    c.embedding_rank = c.channels / 2;
    c.parts.tied = false;
  });
  add("llama_gelu", "llama", [](ModelConfig& c) { c.parts.mlp = MlpKind::kGelu; });
  add("llama_biases", "llama", [](ModelConfig& c) { c.parts.biases = true; });
  add("llama_untied", "llama", [](ModelConfig& c) { c.parts.tied = false; });
  add("llama_learned", "llama", [](ModelConfig& c) { c.parts.positions = PositionKind::kLearned; });
  add("llama_embedding_norm", "llama", [](ModelConfig& c) { c.parts.embedding_norm = true; });
  add("llama_one_key_head", "llama", [](ModelConfig& c) { c.kv_heads = 1; });
  add("qwen3_wide_heads", "qwen3", [](ModelConfig& c) {
    c.kv_heads = 1;
    c.head_size = 2 * c.channels / c.heads + 2;
  });
  add("qwen3_narrow_heads", "qwen3", [](ModelConfig& c) { c.head_size = 2; });
  add("nanochat_tied", "nanochat", [](ModelConfig& c) { c.parts.tied = true; });
  add("nanochat_one_key_head", "nanochat", [](ModelConfig& c) { c.kv_heads = 1; });
  return variants;
}

}  // namespace cllm::support
