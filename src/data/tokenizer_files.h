#pragma once

#include <filesystem>
#include <string>

namespace cllm::data {

/// The file or directory that `--tokenizer` names, as one file: of a directory its tokenizer.json,
/// else its tokenizer.model, else its vocab.json. Throws Error where it has none of them.
std::filesystem::path find_tokenizer_file(const std::filesystem::path& path);

/// The text of a tokenizer.json: that of the file itself, or what a vocab.json says together with
/// the merges.txt and, where there is one, the tokenizer_config.json beside it. Throws Error that
/// names the file.
std::string read_tokenizer_json(const std::filesystem::path& file);

}  // namespace cllm::data
