#pragma once

#include <filesystem>
#include <string>

#include "cllm/io/formats/tensor_archive.h"
#include "cllm/model/config.h"
#include "naming.h"

namespace cllm::io {

/// Another program's model, opened and checked: its tensors are those of the configuration.
struct ForeignModel {
  std::string format;  ///< for people
  model::ModelConfig config;
  TensorArchive archive;
  Naming naming;
  std::string tokenizer_kind = {}, tokenizer_blob = {};
  std::string tokenizer_note = {};  ///< why there is none
};

// Readers of the formats. They throw Error: one sentence that names the file.
ForeignModel open_transformers(const std::filesystem::path& directory);
ForeignModel open_gguf(const std::filesystem::path& path);
ForeignModel open_llm_c(const std::filesystem::path& path);

}  // namespace cllm::io
