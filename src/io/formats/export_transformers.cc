#include <fmt/format.h>

#include "architectures.h"
#include "cllm/base/atomic_directory.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/io/formats/export.h"
#include "cllm/io/formats/safetensors.h"
#include "naming.h"
#include "tokenizer_table.h"
#include "transformers_config.h"

namespace cllm::io {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::json;

void write_text(const fs::path& path, const std::string& text) {
  write_atomically(path, std::as_bytes(std::span(text)));
}

void write_json(const fs::path& path, const Json& json) {
  // Bytes that aren't UTF-8, which a foreign tokenizer may hold, have no place in JSON.
  write_text(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

/// "float32", as transformers has it.
const char* torch_name(ElementType type) {
  return type == ElementType::kF32 ? "float32" : type == ElementType::kF16 ? "float16" : "bfloat16";
}

/// The tokens that a tokenizer has for the ends of texts, for each file that names them.
void add_ends(const TokenizerTable& table, Json& config) {
  const auto set = [&](const char* key, const std::optional<std::size_t>& token) {
    config[key] = token ? Json(*token) : Json();
  };
  set("bos_token_id", table.beginning);
  set("eos_token_id", table.end);
}

void write_tokenizer(const fs::path& directory, const TokenizerTable& table,
                     const ExportedModel& model) {
  const bool is_byte_level = table.method == TokenizerTable::Method::kByteLevel;
  if (is_byte_level) {
    write_text(directory / "tokenizer.json", model.run.tokenizer_blob);
  } else {
    write_json(directory / "tokenizer.json", tokenizer_json(table, model.name));
  }
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"model_max_length", model.layout.config().context},
                 {"clean_up_tokenization_spaces", false}};
  if (table.beginning) config["bos_token"] = table.pieces[*table.beginning].text;
  if (table.end) config["eos_token"] = table.pieces[*table.end].text;
  write_json(directory / "tokenizer_config.json", config);
  if (table.method != TokenizerTable::Method::kBytes && !is_byte_level) {
    write_text(directory / "tokenizer.model", model.run.tokenizer_blob);
  }
}

/// The page that people see first.
std::string readme(const ExportedModel& model, std::string_view architecture) {
  const RunState& run = model.run;
  const std::string origin =
      run.program_version.empty()
          ? "Another program's model, written by cllm-dist"
          : fmt::format("Trained with cllm-dist {}, and written by it", run.program_version);
  std::string text = fmt::format(
      "# {}\n\nA language model: {}.\n{} for transformers, which opens it as {}:\n\n"
      "    from transformers import AutoModelForCausalLM, AutoTokenizer\n"
      "    model = AutoModelForCausalLM.from_pretrained(\".\")\n"
      "    tokenizer = AutoTokenizer.from_pretrained(\".\")\n\n",
      model.name, model::shape_text(run.model), origin, architecture);
  if (!run.program_version.empty()) {
    text += fmt::format("{} optimizer steps, {} tokens, seed {}.\n", run.step, run.tokens_seen,
                        run.seed);
  }
  const Json state = Json::parse(run.state, nullptr, false);
  if (state.is_object() && state.contains("validation") && state["validation"].is_object()) {
    const Json& loss = state["validation"].value("loss", Json());
    if (loss.is_number()) {
      text += fmt::format("Validation loss {:.4f} nats per token.\n", loss.get<double>());
    }
  }
  if (!run.config.empty()) {
    text += "\nThe options of the run:\n\n```toml\n" + run.config + "```\n";
  }
  return text;
}

}  // namespace

ExportReport export_transformers(const fs::path& path, const ExportedModel& model, ElementType type,
                                 std::uint64_t shard_bytes) {
  if (block_elements(type) > 1) {
    fail("transformers has no {}; give --type f32, f16 or bf16", name_of(type));
  }
  const model::ModelConfig& config = model.layout.config();
  ExportReport report{.architecture = std::string(transformers_architecture(config)), .notes = {}};
  std::optional<TokenizerTable> table;
  if (model.run.tokenizer_kind.empty()) {
    report.notes.emplace_back("the model has no tokenizer, so no tokenizer files are written");
  } else {
    table = tokenizer_table(model.run.tokenizer_kind, model.run.tokenizer_blob, model.name);
  }
  if (config.is_factorised()) {
    report.notes.emplace_back("the factorised token embedding is multiplied out to one matrix");
  }
  Json json = transformers_config(config, report.architecture);
  json["dtype"] = torch_name(type);        // version 5
  json["torch_dtype"] = torch_name(type);  // earlier versions
  Json generation = Json::object();
  if (table) {
    add_ends(*table, json);
    add_ends(*table, generation);
  }

  AtomicDirectory directory(path);
  const fs::path& in = directory.temporary();
  if (table) write_tokenizer(in, *table, model);
  write_json(in / "config.json", json);
  write_json(in / "generation_config.json", generation);
  write_text(in / "README.md", readme(model, report.architecture));
  report.tensor_bytes = write_safetensors_directory(
      in,
      outgoing_tensors(transformers_naming(report.architecture), model.layout, model.parameters,
                       model.run.token_rows, type, type),
      shard_bytes);
  directory.commit();
  return report;
}

}  // namespace cllm::io
