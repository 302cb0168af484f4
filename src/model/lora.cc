#include "cllm/model/lora.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <iterator>

#include "cllm/base/error.h"

namespace cllm::model {
namespace {

using enum Projection;

constexpr std::array<std::string_view, kProjections> kNames = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

/// A word of other programs, or for several, and what it means.
struct Word {
  std::string_view text;
  std::initializer_list<Projection> means;
};

const Word kWords[] = {
    {"attention", {kQ, kK, kV, kO}},
    {"mlp", {kGate, kUp, kDown}},
    {"all", {kQ, kK, kV, kO, kGate, kUp, kDown}},
    {"c_attn", {kQ, kK, kV}},
    {"c_proj", {kO, kDown}},
    {"c_fc", {kUp}},
    {"fc1", {kUp}},
    {"fc2", {kDown}},
};

}  // namespace

std::string_view name_of(Projection projection) {
  return kNames[static_cast<std::size_t>(projection)];
}

std::string text_of(Projections projections) {
  std::string text;
  for (std::size_t i = 0; i < kProjections; ++i) {
    if (!projections.has(static_cast<Projection>(i))) continue;
    text += fmt::format("{}{}", text.empty() ? "" : ",", kNames[i]);
  }
  return text;
}

Projections projections_of(std::string_view words, bool has_gates) {
  Projections result;
  while (true) {
    const std::size_t comma = std::min(words.find(','), words.size());
    const std::string_view word = words.substr(0, comma);
    const auto* const name = std::ranges::find(kNames, word);
    const auto* const several = std::ranges::find(kWords, word, &Word::text);
    if (name != kNames.end()) {
      const auto projection = static_cast<Projection>(name - kNames.begin());
      if (projection == kGate && !has_gates) {
        fail("the model's MLP has no gate_proj; give up_proj and down_proj");
      }
      result.add(projection);
    } else if (several != std::end(kWords)) {
      for (const Projection projection : several->means) {
        if (projection != kGate || has_gates) result.add(projection);
      }
    } else {
      fail(
          "{:?} is none of its words; give attention, mlp, all, or some of q_proj, k_proj, v_proj, "
          "o_proj, gate_proj, up_proj and down_proj, with commas between them",
          word);
    }
    if (comma == words.size()) return result;
    words.remove_prefix(comma + 1);
  }
}

}  // namespace cllm::model
