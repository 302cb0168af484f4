#include "cllm/model/families.h"

#include <fmt/format.h>

#include <array>

#include "cllm/base/error.h"

namespace cllm::model {
namespace {

/// Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
constexpr Family kGpt2 = {
    .name = "gpt2",
    .help = "layer norm, learned positions, GELU, biases",
    .parts = {},
};

/// Touvron et al., arXiv 2302.13971.
constexpr Family kLlama = {
    .name = "llama",
    .help = "RMS norm, rotary positions, SwiGLU",
    .parts = {.norm = NormKind::kRms,
              .positions = PositionKind::kRotary,
              .mlp = MlpKind::kSwiglu,
              .biases = false},
};

/// Yang et al., arXiv 2505.09388.
constexpr Family kQwen3 = {
    .name = "qwen3",
    .help = "llama with a norm of queries and keys",
    .parts = {.norm = NormKind::kRms,
              .norm_epsilon = 1e-6,
              .positions = PositionKind::kRotary,
              .qk_norm = QkNorm::kRms,
              .mlp = MlpKind::kSwiglu,
              .biases = false,
              .initial_weights = InitialWeights::kZeroProjections},
};

/// Karpathy, nanochat, 2025.
constexpr Family kNanochat = {
    .name = "nanochat",
    .help =
        "norms without gains, rotary positions, ReLU squared, softcap, an output layer of its "
        "own",
    .parts = {.norm = NormKind::kPlainRms,
              .norm_epsilon = 1e-6,
              .positions = PositionKind::kRotary,
              .qk_norm = QkNorm::kPlainRms,
              .mlp = MlpKind::kRelu2,
              .biases = false,
              .tied = false,
              .embedding_norm = true,
              .softcap = 15,
              .initial_weights = InitialWeights::kZeroProjections},
};

constexpr std::array kFamilies = {kGpt2, kLlama, kQwen3, kNanochat};

constexpr Parts with_theta(Parts parts, double theta) {
  parts.rope_theta = theta;
  return parts;
}

constexpr Parts untied(Parts parts) {
  parts.tied = false;
  return parts;
}

/// What measured best (docs/recipes.md).
constexpr ModelConfig usual(std::size_t layers, std::size_t heads, std::size_t channels,
                            std::size_t context) {
  return {.layers = layers,
          .heads = heads,
          .channels = channels,
          .context = context,
          .family = "qwen3",
          .parts = untied(kQwen3.parts)};
}

constexpr Preset kPresets[] = {
    {"tiny", usual(2, 2, 64, 64)},
    {"mini", usual(4, 4, 128, 64)},
    {"small", usual(4, 4, 256, 128)},
    {"medium", usual(6, 6, 384, 256)},
    {"gpt2-124m", {.layers = 12, .heads = 12, .channels = 768, .context = 1024}},
    {"gpt2-355m", {.layers = 24, .heads = 16, .channels = 1024, .context = 1024}},
    // The shapes of llama2.c's models of children's stories.
    {"llama-15m",
     {.layers = 6,
      .heads = 6,
      .channels = 288,
      .context = 256,
      .mlp_width = 768,
      .family = "llama",
      .parts = kLlama.parts}},
    {"llama-42m",
     {.layers = 8,
      .heads = 8,
      .channels = 512,
      .context = 1024,
      .mlp_width = 1376,
      .family = "llama",
      .parts = kLlama.parts}},
    {"llama-110m",
     {.layers = 12,
      .heads = 12,
      .channels = 768,
      .context = 1024,
      .mlp_width = 2048,
      .family = "llama",
      .parts = kLlama.parts}},
    {"smollm-135m",
     {.layers = 30,
      .heads = 9,
      .channels = 576,
      .context = 2048,
      .kv_heads = 3,
      .mlp_width = 1536,
      .family = "llama",
      .parts = kLlama.parts}},
    {"smollm-360m",
     {.layers = 32,
      .heads = 15,
      .channels = 960,
      .context = 2048,
      .kv_heads = 5,
      .mlp_width = 2560,
      .family = "llama",
      .parts = kLlama.parts}},
    {"qwen3-0.6b",
     {.layers = 28,
      .heads = 16,
      .channels = 1024,
      .context = 4096,
      .kv_heads = 8,
      .head_size = 128,
      .mlp_width = 3072,
      .family = "qwen3",
      .parts = with_theta(kQwen3.parts, 1e6)}},
};

template <typename Named>
const Named& find(std::span<const Named> all, std::string_view name, std::string_view option,
                  std::string_view what, std::string_view plural) {
  std::string names;
  for (const Named& one : all) {
    if (one.name == name) return one;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", one.name);
  }
  fail("{} {}: there is no such {}; the {} are {}", option, name, what, plural, names);
}

}  // namespace

std::span<const Family> families() { return kFamilies; }
const Family& find_family(std::string_view name) {
  return find(families(), name, "--family", "family", "families");
}

std::span<const Preset> presets() { return kPresets; }
const Preset& find_preset(std::string_view name) {
  return find(presets(), name, "--preset", "preset", "presets");
}

}  // namespace cllm::model
