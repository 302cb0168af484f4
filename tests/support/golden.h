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
#include "support/reference_adamw.h"

/// What PyTorch computed in float64 for a small model; see tests/golden/make_golden.py.
namespace cllm::support {

/// One optimizer step. Loss and gradient norm are those before the update.
struct GoldenStep {
  double learning_rate;  // a float
  double loss;
  double gradient_norm;                // before clipping
  std::vector<std::uint32_t> inputs;   // (B, T)
  std::vector<std::uint32_t> targets;  // (B, T)
};

/// The golden values. AlignedBuffers are by the layout, with zeros in the padding.
struct Golden {
  Example start;                         // initial parameters, and the tokens of steps[0]
  std::vector<double> first_gradients;   // of `start`, before clipping
  std::vector<double> final_parameters;  // after all steps
  ReferenceAdamWOptions adamw;
  std::vector<GoldenStep> steps;
};

/// Whether element `index` of a flat buffer is one of the keys' biases. Their gradient is zero in
/// exact arithmetic, because a constant added to all keys shifts all scores of a query alike;
/// rounded it is noise, which Adam divides by its own size or by ε. So trained values of these, on
/// which neither logits nor loss depend, can be compared only where that noise is far below ε: in
/// double.
inline bool is_keys_bias(const model::Layout& layout, std::size_t index) {
  const std::size_t channels = layout.config().channels;
  for (std::size_t l = 0; l < layout.config().layers; ++l) {
    const std::size_t keys = layout[*layout.layer(l).c_attn_bias].offset + channels;
    if (index >= keys && index < keys + channels) return true;
  }
  return false;
}

/// Loads the golden files of a folder. Throws Error where they are missing, or don't hold every
/// tensor of the layout once in its shape.
inline Golden load_golden(const std::filesystem::path& folder = CLLM_TESTS_DIR "/golden") {
  static_assert(std::endian::native == std::endian::little);
  const auto json = nlohmann::json::parse(read_file(folder / "golden.json"));
  const std::string binary = read_file(folder / "golden.bin");

  const auto& shape = json.at("shape");
  const model::Layout layout({.layers = shape.at("layers"),
                              .heads = shape.at("heads"),
                              .channels = shape.at("channels"),
                              .context = shape.at("context"),
                              .vocabulary = shape.at("vocabulary")});

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
          fail("{}/golden.json: {} does not fit; make the golden files anew", folder.string(),
               tensor.name);
        }
        std::memcpy(&result[tensor.offset], &binary[offset], bytes);
        ++found;
      }
    }
    if (found != layout.tensors().size()) {
      fail("{}/golden.json: {} has {} of {} tensors; make the golden files anew", folder.string(),
           kind, found, layout.tensors().size());
    }
    return result;
  };

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
          .steps = std::move(steps)};
}

}  // namespace cllm::support
