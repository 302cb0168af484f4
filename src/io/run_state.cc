#include "run_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::io {
namespace {

constexpr const char* kConfig = "/run/config";
constexpr const char* kState = "/run/state";
constexpr const char* kTokenizer = "/run/tokenizer";

model::ModelConfig read_model(const Hdf5Reader& file, std::uint64_t most_weights) {
  const auto integer = [&](const char* name) { return file.integer_attribute(kRun, name); };
  const model::ModelConfig config{
      .layers = integer("layers"),
      .heads = integer("heads"),
      .channels = integer("channels"),
      .context = integer("context"),
      .vocabulary = integer("vocabulary"),
      // Before checkpoints of format 3 every table was dense.
      .embedding_rank = file.has_attribute(kRun, kFormatAttribute) && integer(kFormatAttribute) < 3
                            ? 0
                            : integer("embedding_rank")};
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
  // keeps the sizes below 2^31, and the table, wpe and c_attn have these many weights at least.
  if (config.layers > file.count(kParameters) ||
      config.embedding_width() * config.vocabulary > most_weights ||
      config.channels * std::max(config.context, config.channels) > most_weights) {
    refuse("the file is too small for it");
  }
  return config;
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
  const std::pair<const char*, std::uint64_t> integers[] = {
      {attribute, version},
      {"layers", run.model.layers},
      {"heads", run.model.heads},
      {"channels", run.model.channels},
      {"context", run.model.context},
      {"vocabulary", run.model.vocabulary},
      {"embedding_rank", run.model.embedding_rank},
      {"step", run.step},
      {"tokens_seen", run.tokens_seen},
      {"seed", run.seed}};
  for (const auto& [name, value] : integers) file.write_attribute(kRun, name, value);
  file.write_attribute(kRun, "program_version", run.program_version);
  file.write_attribute(kRun, "tokenizer_kind", run.tokenizer_kind);
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
