#include <fmt/format.h>

#include <memory>

#include "checked_json.h"
#include "cllm/base/error.h"
#include "cllm/data/tokenizer.h"
#include "cllm/io/formats/safetensors.h"
#include "foreign_model.h"
#include "tokenizer_table.h"
#include "transformers_config.h"

namespace cllm::io {

namespace fs = std::filesystem;

namespace {

void take_tokenizer(const data::Tokenizer& tokenizer, const fs::path& file, ForeignModel& model) {
  if (tokenizer.vocabulary() > model.config.vocabulary) {
    fail("{} has {} tokens and the model {}; it is of another model", file.string(),
         tokenizer.vocabulary(), model.config.vocabulary);
  }
  model.tokenizer_kind = tokenizer.kind();
  model.tokenizer_blob = tokenizer.blob();
}

/// A SentencePiece model, our own bytes, or byte-level BPE.
void read_tokenizer(const fs::path& directory, ForeignModel& model) {
  std::error_code unknown;
  const fs::path sentencepiece = directory / "tokenizer.model";
  const fs::path json = directory / "tokenizer.json";
  const auto build = [](const fs::path& file) {
    return data::build_tokenizer({.kind = data::TokenizerSpec::Kind::file, .file = file}, "");
  };
  if (fs::exists(sentencepiece, unknown)) {
    take_tokenizer(*build(sentencepiece), sentencepiece, model);
    return;
  }
  const bool has_json = fs::exists(json, unknown);
  if (!has_json && !fs::exists(directory / "vocab.json", unknown)) {
    model.tokenizer_note = "it has neither tokenizer.model nor tokenizer.json";
    return;
  }
  if (has_json && model.config.vocabulary == 256 &&
      is_bytes_tokenizer(parse_checked_json(read_file(json), json.string()))) {
    model.tokenizer_kind = "bytes";
    return;
  }
  std::unique_ptr<data::Tokenizer> tokenizer;
  try {
    tokenizer = build(directory);
  } catch (const Error& error) {
    // Its weights are of use all the same.
    model.tokenizer_note = fmt::format("its tokenizer can't be used: {}", error.what());
    return;
  }
  take_tokenizer(*tokenizer, directory, model);
}

}  // namespace

ForeignModel open_transformers(const fs::path& directory) {
  const fs::path path = directory / "config.json";
  const nlohmann::json json = parse_checked_json(read_file(path), path.string());
  ForeignModel model;
  model.config = model_of_transformers(json, path.string());
  const std::string type = json.at("model_type");
  model.format = fmt::format("transformers ({})", type);
  model.naming = transformers_naming(type);
  model.archive = read_safetensors_directory(directory);
  read_tokenizer(directory, model);
  return model;
}

}  // namespace cllm::io
