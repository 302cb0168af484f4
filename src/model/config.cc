#include "cllm/model/config.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::model {
namespace {

constexpr std::array kPresets = {
    Preset{"tiny",
           "0.2 M parameters: a first run in seconds",
           {.layers = 2, .heads = 2, .channels = 64, .context = 64}},
    Preset{"mini",
           "0.8 M: the CPU recipe of nanoGPT's README",
           {.layers = 4, .heads = 4, .channels = 128, .context = 64}},
    Preset{"small",
           "3 M: readable text within the hour on a desktop",
           {.layers = 4, .heads = 4, .channels = 256, .context = 128}},
    Preset{"medium",
           "11 M: the character model of nanoGPT's README",
           {.layers = 6, .heads = 6, .channels = 384, .context = 256}},
    Preset{
        "gpt2-124m", "GPT-2 small", {.layers = 12, .heads = 12, .channels = 768, .context = 1024}},
    Preset{"gpt2-355m",
           "GPT-2 medium",
           {.layers = 24, .heads = 16, .channels = 1024, .context = 1024}},
};

void check_size(std::string_view option, std::size_t value) {
  // BLAS counts in 32 bits; products of two sizes are counted in 64.
  if (value < 1 || value > std::numeric_limits<std::int32_t>::max()) {
    fail("{} {}: give a number from 1 to {}", option, value,
         std::numeric_limits<std::int32_t>::max());
  }
}

}  // namespace

void validate(const ModelConfig& config) {
  check_size("--layers", config.layers);
  check_size("--heads", config.heads);
  check_size("--channels", config.channels);
  check_size("--context", config.context);
  check_size("the vocabulary of --tokenizer", config.vocabulary);
  if (config.channels % config.heads != 0) {
    fail("--heads {} does not divide --channels {}; make the channels a multiple of the heads",
         config.heads, config.channels);
  }
}

std::span<const Preset> presets() { return kPresets; }

const Preset& find_preset(std::string_view name) {
  std::string names;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", preset.name);
  }
  fail("--preset {}: there is no such preset; the presets are {}", name, names);
}

}  // namespace cllm::model
