#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/cli/run/settings.h"
#include "cllm/model/config_fields.h"
#include "cllm/model/families.h"
#include "cllm/model/layout.h"

namespace cllm::cli {
namespace {

std::string preset_names() {
  std::string names;
  for (const model::Preset& preset : model::presets()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", preset.name);
  }
  return names;
}

/// The words that model/config_fields.h has for an enumeration.
template <typename Kind>
Format<Kind> word_format() {
  std::vector<std::pair<std::string_view, Kind>> words;
  for (const auto& [word, kind] : model::Words<Kind>::kAll) words.emplace_back(word, kind);
  return one_of(words);
}

Format<std::string> family_format() {
  std::vector<std::pair<std::string_view, std::string>> names;
  for (const model::Family& family : model::families()) {
    names.emplace_back(family.name, family.name);
  }
  return one_of(names);
}

Format<BandsChoice> bands_format() {
  return {.values = "auto|none|ROWS:RANK,…",
          .read =
              [](const std::string& text) {
                BandsChoice choice{.usual = text == "auto"};
                if (text != "auto" && text != "none") choice.bands = model::bands_of(text);
                return choice;
              },
          .write =
              [](const BandsChoice& choice) {
                if (choice.usual) return std::string("auto");
                return choice.bands.count == 0 ? "none" : model::text_of(choice.bands);
              }};
}

/// A vocabulary that the bands which were asked for fit, as long as none is known.
std::size_t fitting_vocabulary(const model::EmbeddingBands& bands) {
  std::size_t rows = 0;
  for (const model::EmbeddingBand& band : bands.all()) rows += std::max<std::size_t>(band.rows, 1);
  return std::max<std::size_t>(rows, 1);
}

/// "--kv-heads" of "kv_heads".
std::string option_of_part(std::string name) {
  std::ranges::replace(name, '_', '-');
  return "--" + name;
}

/// Adds options to a group of the help text.
auto group(CLI::App& app, const char* name) {
  return [&app, name](const char* option, auto& variable, const auto&... format_and_help) {
    return add_option(app, option, variable, format_and_help...)->group(name);
  };
}

}  // namespace

Format<bool> switch_format() { return one_of<bool>({{"on", true}, {"off", false}}); }

void declare_model_options(CLI::App& app, TrainSettings& s) {
  const auto model = group(app, "Model");
  model("--preset", s.preset, "shape of the model: " + preset_names())
      ->type_name("NAME")
      ->capture_default_str();
  model("--layers", s.shape.layers, "transformer layers [the preset's]");
  model("--heads", s.shape.heads, "attention heads [the preset's]");
  model("--channels", s.shape.channels, "width of the model [the preset's]");
  model("--context", s.shape.context, "tokens of a sequence [the preset's]");
  model("--family", s.family, family_format(),
        "the parts that the model is made of [the preset's]; what each of them has is listed under "
        "Parts");
  model("--embedding-rank", s.shape.embedding_rank,
        count_or<std::size_t>("dense", "a rank from 1 to --channels"),
        "factorise the token embedding into matrices (vocabulary, N) and (N, channels); dense: "
        "one matrix");
  model("--embedding-bands", s.embedding_bands, bands_format(),
        "ranks of the token embedding by bands of frequency: so many tokens, the most frequent "
        "first, of each rank, such as 2048:192,rest:96");
}

void declare_part_options(CLI::App& app, TrainSettings& s) {
  const auto part = group(app, "Parts");
  model::Parts& parts = s.shape.parts;
  part("--kv-heads", s.shape.kv_heads,
       "heads of keys and values, which attention heads share [--heads]");
  part("--head-size", s.shape.head_size, "numbers of a head [--channels / --heads]");
  part("--mlp", parts.mlp, word_format<model::MlpKind>(), "function between the MLP's matrices");
  part("--mlp-width", s.shape.mlp_width,
       "numbers between the MLP's matrices [4 times --channels; 8/3 times with swiglu]");
  part("--norm", parts.norm, word_format<model::NormKind>(),
       "norm before attention and MLP: layer norm, RMS norm, or RMS norm without gains");
  part("--norm-epsilon", parts.norm_epsilon, "what an RMS norm adds to the mean of squares");
  part("--positions", parts.positions, word_format<model::PositionKind>(),
       "an embedding of each position, or rotation of queries and keys (RoPE)");
  part("--rope-theta", parts.rope_theta, "base of the angles of rotary positions");
  part("--qk-norm", parts.qk_norm, word_format<model::QkNorm>(), "norm of queries and keys");
  part("--biases", parts.biases, switch_format(), "biases of the layers' matrices");
  part("--tied", parts.tied, switch_format(), "whether the output layer is the token embedding");
  part("--embedding-norm", parts.embedding_norm, switch_format(), "a norm behind the embeddings");
  part("--softcap", parts.softcap, "logits become X tanh(logit / X); 0: they stay as they are");
  part("--initial-weights", parts.initial_weights, word_format<model::InitialWeights>(),
       "matrices that end a layer's branches start small, or from zero");
}

void declare_freeze_options(CLI::App& app, TrainSettings& s) {
  const Format<model::Freeze> words = {
      .values = "WORDS",
      .read = [](const std::string& text) { return model::Freeze(text); },
      .write = [](const model::Freeze& freeze) { return freeze.text(); }};
  add_option(
      app, "--freeze", s.freeze, words,
      "leave these as they are: embeddings, layers:A-B, attention, mlp, norms, biases, head, "
      "with commas between them, or none [none]")
      ->group("Training");
}

void resolve_model(const CLI::App& app, const std::optional<model::ModelConfig>& base,
                   TrainSettings& s) {
  const auto given = [&](const std::string& option) { return is_given(app, option.c_str()); };
  model::ModelConfig usual = base ? *base : model::find_preset(s.preset).shape;
  if (given("--family") && s.family != usual.family) {
    const model::Family& family = model::find_family(s.family);
    usual.family = family.name;
    usual.parts = family.parts;
  }
  if (!base && (given("--family") || given("--mlp") || given("--channels"))) usual.mlp_width = 0;
  const auto set = [&](const std::string& name, auto& value, const auto& usual_value) {
    if (!given(option_of_part(name)) && name != "vocabulary" && name != "embedding_rank") {
      value = usual_value;
    }
  };
  model::for_each_size(set, s.shape, usual);
  model::for_each_part(set, s.shape, usual);
  // An embedding of one rank is the output layer too, unless that has been asked for.
  if (s.shape.embedding_rank > 0 && !given("--tied")) s.shape.parts.tied = true;
  const BandsChoice& bands = s.embedding_bands;
  if (s.shape.embedding_rank > 0 && (bands.usual || bands.bands.count > 0)) {
    fail(
        "--embedding-bands {} and --embedding-rank {}: each says what the token embedding is; "
        "give one of them",
        bands_format().write(bands), s.shape.embedding_rank);
  }
  s.shape.family = usual.family;
  s.family = usual.family;
  resolve_lora(app, s);
  model::ModelConfig checked = s.shape;
  checked.bands = bands.bands;
  checked.vocabulary = fitting_vocabulary(bands.bands);  // is known once the data is
  model::validate(checked);
  model::Layout(checked, s.freeze);
  s.shape = model::with_usual_sizes(s.shape);
}

void resolve_bands(const CLI::App& app, TrainSettings& s) {
  if (!is_given(app, "--embedding-bands")) return;
  model::ModelConfig& shape = s.shape;
  shape.bands = s.embedding_bands.usual ? model::usual_bands(shape.vocabulary, shape.channels)
                                        : s.embedding_bands.bands;
  model::validate(shape.bands, shape.vocabulary, shape.channels);
  shape = model::with_usual_sizes(shape);
}

std::vector<std::string> model_options() {
  std::vector<std::string> options = {"--preset", "--family", "--embedding-bands"};
  const auto add = [&](const std::string& name, const auto&) {
    if (name != "vocabulary") options.push_back(option_of_part(name));
  };
  const model::ModelConfig any;
  model::for_each_size(add, any);
  model::for_each_part(add, any);
  return options;
}

}  // namespace cllm::cli
