#include "cllm/model/freeze.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "cllm/base/error.h"
#include "cllm/model/layout.h"

namespace cllm::model {
namespace {

constexpr std::string_view kLayers = "layers:";

bool has(std::string_view name, std::string_view part) { return name.find(part) != name.npos; }

bool is_in_layers(std::string_view name) { return name.starts_with("h."); }

bool is_norm(std::string_view name) { return has(name, "ln_") || has(name, "_norm."); }

/// A word, and the tensors that it means, by their names: Layout's.
struct Word {
  std::string_view text;
  bool (*means)(std::string_view name);
};

constexpr Word kWords[] = {
    {"embeddings",
     [](std::string_view name) {
       return name.starts_with("wte.") || name.starts_with("wpe.") || name.starts_with("ln_e.");
     }},
    {"attention", [](std::string_view name) { return is_in_layers(name) && has(name, ".attn."); }},
    {"mlp", [](std::string_view name) { return is_in_layers(name) && has(name, ".mlp."); }},
    {"norms", is_norm},
    {"biases", [](std::string_view name) { return name.ends_with(".bias") && !is_norm(name); }},
    {"base", [](std::string_view name) { return !has(name, ".lora_"); }},
    {"head", [](std::string_view name) { return name.starts_with("lm_head."); }},
};

struct Layers {
  std::size_t first, last;
};

std::optional<std::size_t> number_in(std::string_view text) {
  std::size_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || stop != end) return std::nullopt;
  return number;
}

/// "layers:3" or "layers:0-5"; nothing for any other text.
std::optional<Layers> layers_in(std::string_view word) {
  if (!word.starts_with(kLayers)) return std::nullopt;
  const std::string_view range = word.substr(kLayers.size());
  const std::size_t dash = std::min(range.find('-'), range.size());
  const auto first = number_in(range.substr(0, dash));
  const auto last = dash == range.size() ? first : number_in(range.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return Layers{*first, *last};
}

std::size_t layer_of(std::string_view name) {
  const std::size_t begin = 2, end = name.find('.', begin);
  return number_in(name.substr(begin, end - begin)).value();
}

bool means(std::string_view word, std::string_view name) {
  if (const auto layers = layers_in(word)) {
    if (!is_in_layers(name)) return false;
    const std::size_t layer = layer_of(name);
    return layer >= layers->first && layer <= layers->last;
  }
  return std::ranges::find(kWords, word, &Word::text)->means(name);
}

}  // namespace

Freeze::Freeze(std::string_view words) {
  if (words == "none" || words.empty()) return;
  while (true) {
    const std::size_t comma = std::min(words.find(','), words.size());
    const std::string_view word = words.substr(0, comma);
    const bool is_known =
        std::ranges::find(kWords, word, &Word::text) != std::end(kWords) || layers_in(word);
    if (!is_known) {
      fail(
          "{:?} is none of its words; give some of embeddings, layers:A-B, attention, mlp, norms, "
          "biases and head, with commas between them, or none",
          word);
    }
    if (std::ranges::find(words_, word) == words_.end()) words_.emplace_back(word);
    if (comma == words.size()) return;
    words.remove_prefix(comma + 1);
  }
}

std::string Freeze::text() const { return fmt::format("{}", fmt::join(words_, ",")); }

void Freeze::mark(std::vector<Tensor>& tensors, std::size_t layers) const {
  for (const std::string& word : words_) {
    const auto range = layers_in(word);
    if (range && range->last >= layers) {
      fail("--freeze {}: the model has layers 0 to {}; give some of these", word, layers - 1);
    }
    bool is_any = false;
    for (Tensor& tensor : tensors) {
      if (!means(word, tensor.name)) continue;
      tensor.is_trained = false;
      is_any = true;
    }
    if (!is_any) fail("--freeze {}: the model has no such tensors; leave the word out", word);
  }
  if (std::ranges::none_of(tensors, &Tensor::is_trained)) {
    fail("--freeze {}: nothing would be left to train; give fewer words", text());
  }
}

}  // namespace cllm::model
