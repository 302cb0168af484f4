#include "cllm/base/error.h"
#include "cllm/cli/run/settings.h"

namespace cllm::cli {
namespace {

/// Alpha, times the rank, where it isn't said: what PEFT's users take mostly.
constexpr double kUsualAlpha = 2;

/// A number that is written where it isn't 0.
template <typename T>
Format<T> number_or_none() {
  Format<T> format = number_format<T>();
  format.write = [](const T& number) { return number == T{} ? "" : fmt::format("{}", number); };
  return format;
}

}  // namespace

void declare_lora_options(CLI::App& app, TrainSettings& s) {
  const auto training = [&](const char* option, auto& variable, const auto&... format_and_help) {
    return add_option(app, option, variable, format_and_help...)->group("Training");
  };
  training("--lora-rank", s.lora_rank, number_or_none<std::size_t>(),
           "train adapters of this rank (LoRA) beside the weights of --init-from, which stay as "
           "they are");
  training("--lora-alpha", s.lora_alpha, number_or_none<double>(),
           "what adapters give is multiplied with X / rank [twice the rank]");
  training("--lora-targets", s.lora_targets,
           "matrices with an adapter: attention, mlp, all, or q_proj,v_proj and the like [all]")
      ->type_name("WORDS");
}

void resolve_lora(const CLI::App& app, TrainSettings& s) {
  model::Lora& lora = s.shape.lora;
  lora = {};
  if (s.lora_rank == 0) {
    for (const char* option : {"--lora-alpha", "--lora-targets"}) {
      if (is_given(app, option)) fail("{}: there are no adapters; give --lora-rank too", option);
    }
    return;
  }
  const model::Freeze base("base");
  if (is_given(app, "--freeze") && s.freeze != base) {
    fail("--freeze {}: with --lora-rank all but the adapters is frozen; leave it out",
         s.freeze.text());
  }
  s.freeze = base;
  if (!is_given(app, "--lora-alpha")) {
    s.lora_alpha = kUsualAlpha * static_cast<double>(s.lora_rank);
  }
  lora = {.rank = s.lora_rank, .alpha = s.lora_alpha, .targets = {}};
  const std::string words = s.lora_targets.empty() ? "all" : s.lora_targets;
  try {
    lora.targets = model::projections_of(words, s.shape.parts.mlp == model::MlpKind::kSwiglu);
  } catch (const Error& error) {
    fail("--lora-targets {}: {}", words, error.what());
  }
}

}  // namespace cllm::cli
