#include "cllm/model/config.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::model {
namespace {

constexpr std::array kPresets = {
    Preset{"tiny", {.layers = 2, .heads = 2, .channels = 64, .context = 64}},
    Preset{"mini", {.layers = 4, .heads = 4, .channels = 128, .context = 64}},
    Preset{"small", {.layers = 4, .heads = 4, .channels = 256, .context = 128}},
    Preset{"medium", {.layers = 6, .heads = 6, .channels = 384, .context = 256}},
    Preset{"gpt2-124m", {.layers = 12, .heads = 12, .channels = 768, .context = 1024}},
    Preset{"gpt2-355m", {.layers = 24, .heads = 16, .channels = 1024, .context = 1024}},
};

void check_size(std::string_view option, std::size_t value, std::size_t most) {
  if (value < 1 || value > most) fail("{} {}: give a number from 1 to {}", option, value, most);
}

}  // namespace

void validate(const ModelConfig& config) {
  // BLAS counts in 32 bits, and with these bounds every product of sizes has room in 64.
  constexpr std::size_t kMost = std::numeric_limits<std::int32_t>::max();
  check_size("--layers", config.layers, 10'000);
  check_size("--channels", config.channels, 1'000'000);
  check_size("--heads", config.heads, 1'000'000);
  check_size("--context", config.context, kMost);
  check_size("the vocabulary of --tokenizer", config.vocabulary, kMost);
  if (config.embedding_rank > config.channels) {
    fail("--embedding-rank {}: give a rank up to the {} of --channels, or dense",
         config.embedding_rank, config.channels);
  }
  if (config.channels % config.heads != 0) {
    fail("--heads {} does not divide --channels {}; make the channels a multiple of the heads",
         config.heads, config.channels);
  }
}

std::string shape_text(const ModelConfig& config) {
  std::string text =
      fmt::format("{} layers, {} heads, {} channels, context {}, vocabulary {}", config.layers,
                  config.heads, config.channels, config.context, config.vocabulary);
  if (config.is_factorised()) text += fmt::format(", embedding rank {}", config.embedding_rank);
  return text;
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
