#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "marked_text.h"

namespace cllm::data {

/// Whether a file holds JSON lines: its name says so, ".jsonl", ".jsonl.gz" or ".jsonl.zst".
bool names_json_lines(const std::filesystem::path& path);

/// Adds the documents of JSON lines, of which each that isn't blank is an object with
/// - `text`, a string; else
/// - `messages`, a list of objects with `role` and `content`: a conversation in ChatML, with marks
///   for its markers; else
/// - `prompt` and `completion`, strings that are one text.
/// `conversation` becomes the place of the first with `messages`, where it is empty. Throws Error
/// that names `name` and the line where one is none of these, or holds NUL and is not `binary`.
/// By the fourth rules prompts are marked, and completions and what assistants say.
void add_json_lines(std::string_view file, const std::string& name, const TextReading& reading,
                    DocumentJoiner& joiner, std::string& conversation);

}  // namespace cllm::data
