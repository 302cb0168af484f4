#include "architectures.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/model/config_fields.h"

namespace cllm::io {
namespace {

using model::MlpKind;
using model::ModelConfig;
using model::NormKind;
using model::PositionKind;
using model::QkNorm;

/// What models of an architecture are made of. What isn't listed, it has in any size: layers,
/// channels, context, epsilon and theta.
struct Architecture {
  std::string_view name;
  NormKind norm;
  PositionKind positions;
  QkNorm qk_norm;
  MlpKind mlp;
  std::optional<bool> biases;  ///< none: with or without
  bool embedding_norm = false;
  bool has_softcap = false;
  bool shares_keys = true;    ///< fewer heads of keys than of queries
  bool has_head_size = true;  ///< a head size that isn't C / H
};

constexpr Architecture kGpt2 = {.name = "gpt2",
                                .norm = NormKind::kLayer,
                                .positions = PositionKind::kLearned,
                                .qk_norm = QkNorm::kNone,
                                .mlp = MlpKind::kGelu,
                                .biases = true,
                                .shares_keys = false,
                                .has_head_size = false};
constexpr Architecture llama(std::optional<bool> biases) {
  return {.name = "llama",
          .norm = NormKind::kRms,
          .positions = PositionKind::kRotary,
          .qk_norm = QkNorm::kNone,
          .mlp = MlpKind::kSwiglu,
          .biases = biases};
}
constexpr Architecture kQwen3 = {.name = "qwen3",
                                 .norm = NormKind::kRms,
                                 .positions = PositionKind::kRotary,
                                 .qk_norm = QkNorm::kRms,
                                 .mlp = MlpKind::kSwiglu,
                                 .biases = false};
constexpr Architecture kNanochat = {.name = "nanochat",
                                    .norm = NormKind::kPlainRms,
                                    .positions = PositionKind::kRotary,
                                    .qk_norm = QkNorm::kPlainRms,
                                    .mlp = MlpKind::kRelu2,
                                    .biases = false,
                                    .embedding_norm = true,
                                    .has_softcap = true};

constexpr Architecture kOfTransformers[] = {kGpt2, llama(std::nullopt), kQwen3, kNanochat};
constexpr Architecture kOfLlamaCpp[] = {kGpt2, llama(false), kQwen3};

/// What the model has and the architecture doesn't, in the words of our options.
std::vector<std::string> lacking(const Architecture& a, const ModelConfig& config) {
  std::vector<std::string> parts;
  const model::Parts& p = config.parts;
  const auto add = [&](bool is_lacking, std::string part) {
    if (is_lacking) parts.push_back(std::move(part));
  };
  add(p.norm != a.norm, fmt::format("{} norm", word_of(p.norm)));
  add(p.positions != a.positions, fmt::format("{} positions", word_of(p.positions)));
  add(p.qk_norm != a.qk_norm, p.qk_norm == QkNorm::kNone
                                  ? "queries and keys without a norm"
                                  : fmt::format("{} QK-norm", word_of(p.qk_norm)));
  add(p.mlp != a.mlp, fmt::format("{} MLP", word_of(p.mlp)));
  add(a.biases && p.biases != *a.biases, p.biases ? "biases" : "matrices without biases");
  add(p.embedding_norm != a.embedding_norm,
      p.embedding_norm ? "norm of embeddings" : "embeddings without a norm");
  add(p.softcap > 0 && !a.has_softcap, "softcap");
  add(config.kv_heads != config.heads && !a.shares_keys, "heads that share keys");
  add(config.query_width() != config.channels && !a.has_head_size, "head size");
  return parts;
}

std::string_view find(std::span<const Architecture> all, std::string_view program,
                      const ModelConfig& given) {
  const ModelConfig config = model::with_usual_sizes(given);
  std::vector<std::string> fewest;
  std::string_view nearest;
  for (const Architecture& architecture : all) {
    std::vector<std::string> parts = lacking(architecture, config);
    if (parts.empty()) return architecture.name;
    const bool is_own = architecture.name == config.family && parts.size() == fewest.size();
    if (nearest.empty() || parts.size() < fewest.size() || is_own) {
      nearest = architecture.name;
      fewest = std::move(parts);
    }
  }
  std::string list;
  for (const std::string& part : fewest) list += (list.empty() ? "" : ", ") + part;
  fail("{} has no architecture with all parts of this model: the nearest, {}, lacks: {}", program,
       nearest, list);
}

}  // namespace

std::string_view transformers_architecture(const ModelConfig& config) {
  const std::string_view name = find(kOfTransformers, "transformers", config);
  // Its configuration insists on it, whatever the size of the heads.
  if (name == "llama" && config.channels % config.heads != 0) {
    fail(
        "transformers' llama wants channels that are a multiple of the heads, and {} of {} are not",
        config.channels, config.heads);
  }
  return name;
}

std::string_view llama_cpp_architecture(const ModelConfig& config) {
  return find(kOfLlamaCpp, "llama.cpp", config);
}

}  // namespace cllm::io
