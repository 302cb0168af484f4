#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace cllm::cli {

/// A text to continue.
struct Prompt {
  std::string text;   ///< never empty
  std::string where;  ///< what to call it in a message: "--prompt", or "FILE:LINE"
};

/// The prompts of a file, one a line: the line itself, or, where the file's name ends in ".jsonl",
/// the "prompt" of the line's JSON object. Lines may end as Windows ends them. Throws Error that
/// names the file and the line where one has no prompt.
std::vector<Prompt> read_prompts(const std::filesystem::path& file);

}  // namespace cllm::cli
