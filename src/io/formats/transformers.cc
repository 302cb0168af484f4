#include <fmt/format.h>

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

/// The seam for tokenizers of transformers: a SentencePiece model, or our own bytes.
void read_tokenizer(const fs::path& directory, ForeignModel& model) {
  std::error_code unknown;
  const fs::path sentencepiece = directory / "tokenizer.model";
  const fs::path json = directory / "tokenizer.json";
  if (fs::exists(sentencepiece, unknown)) {
    const auto tokenizer =
        data::build_tokenizer({.kind = data::TokenizerSpec::Kind::file, .file = sentencepiece}, "");
    model.tokenizer_kind = tokenizer->kind();
    model.tokenizer_blob = tokenizer->blob();
    if (tokenizer->vocabulary() > model.config.vocabulary) {
      fail("{} has {} tokens and the model {}; it is of another model", sentencepiece.string(),
           tokenizer->vocabulary(), model.config.vocabulary);
    }
    return;
  }
  if (!fs::exists(json, unknown)) {
    model.tokenizer_note = "it has neither tokenizer.model nor tokenizer.json";
    return;
  }
  const nlohmann::json document = parse_checked_json(read_file(json), json.string());
  if (model.config.vocabulary == 256 && is_bytes_tokenizer(document)) {
    model.tokenizer_kind = "bytes";
    return;
  }
  model.tokenizer_note = "its tokenizer.json can't be read here; text must come as token files";
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
