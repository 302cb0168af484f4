#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/model/layout.h"
#include "support/example.h"
#include "support/matrix.h"
#include "support/reference_adamw.h"
#include "support/variants.h"

/// What PyTorch computed in float64 for a small model of a family; see tests/golden/make_golden.py.
namespace cllm::support {

/// One optimizer step. Loss and gradient norm are those before the update.
struct GoldenStep {
  double learning_rate;  // a float
  double loss;
  double gradient_norm;                // before clipping
  std::vector<std::uint32_t> inputs;   // (B, T)
  std::vector<std::uint32_t> targets;  // (B, T)
};

/// The golden values. Flat buffers are by the layout, with zeros in the padding.
struct Golden {
  Example start;                         // initial parameters, and the tokens of steps[0]
  std::vector<double> first_gradients;   // of `start`, before clipping
  std::vector<double> final_parameters;  // after all steps
  ReferenceAdamWOptions adamw;
  std::vector<GoldenStep> steps;
  /// (B·T, V) of `start`, as transformers' own model computes them in float; none of gpt2.
  Matrix<double> transformers_logits;
};

/// Families that have golden files.
inline const std::vector<std::string>& golden_families() {
  static const std::vector<std::string> families = {"gpt2", "llama", "qwen3", "nanochat"};
  return families;
}

/// Whether element `index` of a flat buffer is one of the keys' biases. Their gradient is zero in
/// exact arithmetic, because a constant added to all keys shifts all scores of a query alike;
/// rounded it is noise, which Adam divides by its own size or by ε. So trained values of these, on
/// which neither logits nor loss depend, can be compared only where that noise is far below ε: in
/// double.
inline bool is_keys_bias(const model::Layout& layout, std::size_t index) {
  if (!layout.config().parts.biases) return false;
  const std::size_t channels = layout.config().channels;
  for (std::size_t l = 0; l < layout.config().layers; ++l) {
    const std::size_t keys = layout[*layout.layer(l).c_attn_bias].offset + channels;
    if (index >= keys && index < keys + channels) return true;
  }
  return false;
}

/// The model that the golden files of a family are of.
inline model::ModelConfig golden_config(const nlohmann::json& json) {
  const auto& shape = json.at("shape");
  model::ModelConfig config = of_family({.layers = shape.at("layers"),
                                         .heads = shape.at("heads"),
                                         .channels = shape.at("channels"),
                                         .context = shape.at("context"),
                                         .vocabulary = shape.at("vocabulary"),
                                         .kv_heads = shape.value("kv_heads", std::size_t{0}),
                                         .head_size = shape.value("head_size", std::size_t{0}),
                                         .mlp_width = shape.value("mlp_width", std::size_t{0})},
                                        json.at("family").get<std::string>());
  if (json.contains("parts")) {
    config.parts.rope_theta = json.at("parts").value("rope_theta", config.parts.rope_theta);
  }
  return config;
}

/// Loads the golden files of a family from a folder. Throws Error where they are missing, or don't
/// hold every tensor of the layout once in its shape.
inline Golden load_golden(const std::string& family = "gpt2",
                          const std::filesystem::path& folder = CLLM_TESTS_DIR "/golden") {
  static_assert(std::endian::native == std::endian::little);
  const std::filesystem::path description = folder / (family + ".json");
  const auto json = nlohmann::json::parse(read_file(description));
  const std::string binary = read_file(folder / (family + ".bin"));
  const model::Layout layout(golden_config(json));

  const auto buffer = [&](const std::string& kind) {
    std::vector<double> result(layout.flat_size());
    std::size_t found = 0;
    for (const auto& array : json.at("arrays")) {
      if (array.at("kind") != kind) continue;
      const std::size_t offset = array.at("offset").get<std::size_t>() * sizeof(double);
      auto array_shape = array.at("shape").get<std::vector<std::size_t>>();
      if (array_shape.size() == 1) array_shape.push_back(1);
      for (const model::Tensor& tensor : layout.tensors()) {
        if (tensor.name != array.at("name")) continue;
        const std::size_t bytes = tensor.size() * sizeof(double);
        if (array_shape != std::vector{tensor.rows, tensor.columns} ||
            offset + bytes > binary.size()) {
          fail("{}: {} does not fit; make the golden files anew", description.string(),
               tensor.name);
        }
        std::memcpy(&result[tensor.offset], &binary[offset], bytes);
        ++found;
      }
    }
    if (found != layout.tensors().size()) {
      fail("{}: {} has {} of {} tensors; make the golden files anew", description.string(), kind,
           found, layout.tensors().size());
    }
    return result;
  };

  Matrix<double> logits;
  for (const auto& array : json.at("arrays")) {
    if (array.at("kind") != "transformers") continue;
    const auto shape = array.at("shape").get<std::vector<std::size_t>>();  // (B, T, V)
    logits = Matrix<double>(shape.at(0) * shape.at(1), shape.at(2));
    const std::size_t offset = array.at("offset").get<std::size_t>() * sizeof(double);
    const std::size_t bytes = logits.values.size() * sizeof(double);
    if (logits.columns != layout.config().vocabulary || offset + bytes > binary.size()) {
      fail("{}: the logits do not fit; make the golden files anew", description.string());
    }
    std::memcpy(logits.values.data(), &binary[offset], bytes);
  }

  std::vector<GoldenStep> steps;
  for (const auto& step : json.at("steps")) {
    steps.push_back({.learning_rate = step.at("learning_rate"),
                     .loss = step.at("loss"),
                     .gradient_norm = step.at("gradient_norm"),
                     .inputs = step.at("inputs"),
                     .targets = step.at("targets")});
  }
  Example start{.layout = layout,
                .sequences = json.at("sequences"),
                .positions = json.at("positions"),
                .parameters = {},
                .inputs = steps.at(0).inputs,
                .targets = steps.at(0).targets};
  for (const double value : buffer("initial")) {
    start.parameters.push_back(static_cast<float>(value));  // exact: it is a float
  }
  const auto& adamw = json.at("adamw");
  return {.start = std::move(start),
          .first_gradients = buffer("gradient"),
          .final_parameters = buffer("final"),
          .adamw = {.beta1 = adamw.at("beta1"),
                    .beta2 = adamw.at("beta2"),
                    .epsilon = adamw.at("epsilon"),
                    .weight_decay = adamw.at("weight_decay"),
                    .clip = adamw.at("clip")},
          .steps = std::move(steps),
          .transformers_logits = std::move(logits)};
}

}  // namespace cllm::support
