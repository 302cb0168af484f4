#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "word_splitter.h"

namespace cllm::data {

/// The file or directory that `--tokenizer` names, as one file: of a directory its tokenizer.json,
/// else its tokenizer.model, else its vocab.json. Throws Error where it has none of them.
std::filesystem::path find_tokenizer_file(const std::filesystem::path& path);

/// The text of a tokenizer.json: that of the file itself, or what a vocab.json says together with
/// the merges.txt and, where there is one, the tokenizer_config.json beside it. Throws Error that
/// names the file.
std::string read_tokenizer_json(const std::filesystem::path& file);

/// How tokenizer.json says that text is split so, and then written in characters that stand for
/// bytes.
nlohmann::json pre_tokenizer_of(SplitPattern pattern, DigitSplit digits);

}  // namespace cllm::data
