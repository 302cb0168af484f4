#include "run_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/model/config_fields.h"
#include "cllm/model/families.h"

namespace cllm::io {
namespace {

constexpr const char* kConfig = "/run/config";
constexpr const char* kState = "/run/state";
constexpr const char* kTokenizer = "/run/tokenizer";
constexpr const char* kFamily = "family";
constexpr const char* kFreeze = "freeze";
constexpr const char* kLoraTargets = "lora_targets";
constexpr const char* kBands = "embedding_bands";
constexpr const char* kTokenRows = "/run/token_rows";

/// The value of an attribute, as `text` has it.
template <typename Value>
void read_text(const std::string& text, Value& value, bool& is_known) {
  if constexpr (std::is_enum_v<Value>) {
    for (const auto& [word, kind] : model::Words<Value>::kAll) {
      if (text != word) continue;
      value = kind;
      return;
    }
    is_known = false;
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    is_known &= error == std::errc() && end == text.data() + text.size();
  }
}

/// The bands of the token embedding, where it has some.
void read_bands(const Hdf5Reader& file, model::ModelConfig& config) {
  if (!file.has_attribute(kRun, kBands)) return;
  const std::string text = file.text_attribute(kRun, kBands);
  try {
    config.bands = model::bands_of(text);
  } catch (const Error&) {
    fail(
        "{} says that its model has embedding bands {:?}, which makes no sense; use another "
        "checkpoint",
        file.path().string(), text);
  }
}

void write_token_rows(Hdf5Writer& file, const RunState& run) {
  const std::vector<std::uint32_t>& rows = run.token_rows;
  const std::vector<std::int64_t> values(rows.begin(), rows.end());
  const std::array<std::uint64_t, 1> shape{values.size()};
  file.write_integers(kTokenRows, shape, values);
}

/// The row of each token, which must be a permutation. The model fits into the file, and has more
/// numbers than tokens.
std::vector<std::uint32_t> read_token_rows(const Hdf5Reader& file, std::size_t vocabulary) {
  std::vector<std::int64_t> values(vocabulary);
  const std::array<std::uint64_t, 1> shape{vocabulary};
  file.read_integers(kTokenRows, shape, values);
  std::vector<bool> is_taken(vocabulary);
  for (std::size_t token = 0; token < vocabulary; ++token) {
    const std::int64_t row = values[token];
    if (row < 0 || static_cast<std::size_t>(row) >= vocabulary ||
        is_taken[static_cast<std::size_t>(row)]) {
      fail("{}: its {} gives token {} row {}, which is {}; use another checkpoint",
           file.path().string(), kTokenRows, token, row,
           row < 0 || static_cast<std::size_t>(row) >= vocabulary ? "none of the embedding"
                                                                  : "another token's");
    }
    is_taken[static_cast<std::size_t>(row)] = true;
  }
  return {values.begin(), values.end()};
}

/// Family and parts. Before checkpoints of format 4 all were GPT-2's.
void read_parts(const Hdf5Reader& file, model::ModelConfig& config) {
  if (!file.has_attribute(kRun, kFamily)) return;
  const auto refuse = [&](const char* name, const std::string& value) {
    fail("{} says that its model has {} {}, which this program doesn't know; use a newer cllm-dist",
         file.path().string(), name, value);
  };
  const std::string family = file.text_attribute(kRun, kFamily);
  const auto known = std::ranges::find(model::families(), family, &model::Family::name);
  if (known == model::families().end()) refuse(kFamily, family);
  config.family = known->name;
  const auto read_part = [&]<typename Value>(const char* name, Value& value) {
    if constexpr (std::is_same_v<Value, std::size_t>) {
      value = file.integer_attribute(kRun, name);
    } else if constexpr (std::is_same_v<Value, bool>) {
      value = file.integer_attribute(kRun, name) != 0;
    } else {
      const std::string text = file.text_attribute(kRun, name);
      bool is_known = true;
      read_text(text, value, is_known);
      if (!is_known) refuse(name, text);
    }
  };
  model::for_each_part(read_part, config);
  if (!file.has_attribute(kRun, kLoraTargets)) return;
  model::for_each_lora_number(read_part, config);
  const std::string targets = file.text_attribute(kRun, kLoraTargets);
  try {
    config.lora.targets = model::projections_of(targets, true);
  } catch (const Error&) {
    refuse(kLoraTargets, targets);
  }
}

void write_model(Hdf5Writer& file, const model::ModelConfig& given) {
  const model::ModelConfig config = model::with_usual_sizes(given);
  const auto write_size = [&](const char* name, std::size_t size) {
    file.write_attribute(kRun, name, std::uint64_t{size});
  };
  model::for_each_size(write_size, config);
  if (config.has_bands()) {
    file.write_attribute(kRun, kBands, model::text_of(config.bands));
  }
  file.write_attribute(kRun, kFamily, std::string(config.family));
  const auto write_part = [&]<typename Value>(const char* name, const Value& value) {
    if constexpr (std::is_enum_v<Value>) {
      file.write_attribute(kRun, name, std::string(model::word_of(value)));
    } else if constexpr (std::is_floating_point_v<Value>) {
      file.write_attribute(kRun, name, fmt::format("{}", value));
    } else {
      file.write_attribute(kRun, name, std::uint64_t{value});
    }
  };
  model::for_each_part(write_part, config);
  if (config.lora.rank == 0) return;
  model::for_each_lora_number(write_part, config);
  file.write_attribute(kRun, kLoraTargets, model::text_of(config.lora.targets));
}

model::ModelConfig read_model(const Hdf5Reader& file, std::uint64_t most_weights) {
  const auto integer = [&](const char* name) { return file.integer_attribute(kRun, name); };
  model::ModelConfig config;
  const auto read_size = [&](const std::string& name, std::size_t& size) {
    // Before checkpoints of format 3 every table was dense.
    const bool is_dense = name == "embedding_rank" && file.has_attribute(kRun, kFormatAttribute) &&
                          integer(kFormatAttribute) < 3;
    size = is_dense ? 0 : integer(name.c_str());
  };
  model::for_each_size(read_size, config);
  read_bands(file, config);
  read_parts(file, config);
  const auto refuse = [&](std::string_view why) {
    fail("{} says that its model has {}, but {}; use another checkpoint", file.path().string(),
         model::shape_text(config), why);
  };
  try {
    model::validate(config);
  } catch (const Error&) {
    refuse("there is no such model");
  }
  // Nobody should make a layout or flat buffers for a model that cannot be in the file. `validate`
  // keeps the sizes below 2^31, and the table, wpe, c_attn and c_fc have these many weights at
  // least.
  if (config.layers * config.channels > most_weights ||
      model::weights_of(config.table_bands(), config.channels) > most_weights ||
      (config.parts.positions == model::PositionKind::kLearned &&
       config.channels * config.context > most_weights) ||
      config.channels * std::max(config.query_width(), config.mlp_width) > most_weights ||
      config.lora.rank * config.channels > most_weights) {
    refuse("the file is too small for it");
  }
  return config;
}

/// Which tensors a run doesn't train. Throws Error where that makes no sense for its model.
std::string read_freeze(const Hdf5Reader& file, const model::ModelConfig& config) {
  const std::string text = file.text_attribute(kRun, kFreeze);
  try {
    const model::Freeze freeze(text);
    const model::Layout layout(config, freeze);
    return freeze.text();
  } catch (const Error&) {
    fail("{} says that its run doesn't train {:?}, which makes no sense; use another checkpoint",
         file.path().string(), text);
  }
}

}  // namespace

std::string tensor_path(std::string_view group, const model::Tensor& tensor) {
  return fmt::format("{}/{}", group, tensor.name);
}

std::vector<std::uint64_t> shape_of(const model::Tensor& tensor) {
  if (tensor.is_matrix()) return {tensor.rows, tensor.columns};
  return {tensor.rows};
}

void write_run_state(Hdf5Writer& file, const char* attribute, std::uint64_t version,
                     const RunState& run) {
  file.create_group(kRun);
  const std::pair<const char*, std::uint64_t> integers[] = {{attribute, version},
                                                            {"step", run.step},
                                                            {"tokens_seen", run.tokens_seen},
                                                            {"seed", run.seed}};
  for (const auto& [name, value] : integers) file.write_attribute(kRun, name, value);
  write_model(file, run.model);
  file.write_attribute(kRun, "program_version", run.program_version);
  file.write_attribute(kRun, "tokenizer_kind", run.tokenizer_kind);
  if (!run.freeze.empty()) file.write_attribute(kRun, kFreeze, run.freeze);
  if (run.model.has_bands()) write_token_rows(file, run);
  file.write_text(kConfig, run.config);
  file.write_text(kState, run.state);
  file.write_bytes(kTokenizer, run.tokenizer_blob);
}

RunState read_run_state(const Hdf5Reader& file, const char* attribute, std::uint64_t newest,
                        std::uint64_t most_weights) {
  const std::uint64_t version = file.integer_attribute(kRun, attribute);
  const char* format = attribute == kFormatAttribute ? "checkpoint" : "compressed";
  if (version > newest) {
    fail("{} has {} format {}, and this program reads up to format {}; use a newer cllm-dist",
         file.path().string(), format, version, newest);
  }
  if (version == 0) {
    fail("{} has {} format 0, which there never was; use another checkpoint", file.path().string(),
         format);
  }
  RunState run;
  run.model = read_model(file, most_weights);
  run.step = file.integer_attribute(kRun, "step");
  run.tokens_seen = file.integer_attribute(kRun, "tokens_seen");
  run.seed = file.integer_attribute(kRun, "seed");
  run.program_version = file.text_attribute(kRun, "program_version");
  run.tokenizer_kind = file.text_attribute(kRun, "tokenizer_kind");
  if (file.has_attribute(kRun, kFreeze)) run.freeze = read_freeze(file, run.model);
  if (run.model.has_bands()) run.token_rows = read_token_rows(file, run.model.vocabulary);
  run.config = file.read_text(kConfig);
  run.state = file.read_text(kState);
  run.tokenizer_blob = file.read_bytes(kTokenizer);
  return run;
}

void check_contents(const Hdf5Reader& file, std::span<const std::string> groups) {
  if (file.text_attribute(kRoot, kDigestAttribute) != file.contents_digest(groups)) {
    fail(
        "{} is damaged: its tensors and attributes do not match the digest over them, so some "
        "were exchanged or changed; use another checkpoint",
        file.path().string());
  }
}

}  // namespace cllm::io
