#pragma once

#include <span>
#include <string_view>

#include "cllm/model/config.h"

namespace cllm::model {

/// A family of models: a name, and the parts that its models have where nothing else is asked for.
struct Family {
  std::string_view name;
  std::string_view help;
  Parts parts;
};

/// All families, in the order in which help lists them. To add one: a line here.
std::span<const Family> families();
/// Throws Error that lists the names when there is none such.
const Family& find_family(std::string_view name);

/// A named model, without a vocabulary.
struct Preset {
  std::string_view name;
  ModelConfig shape;
};

/// All presets, by family, smallest first.
std::span<const Preset> presets();
/// Throws Error that lists the names when there is none such.
const Preset& find_preset(std::string_view name);

}  // namespace cllm::model
