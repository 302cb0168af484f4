#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/data/dataset.h"
#include "marked_text.h"

namespace cllm::data {

/// The text of a file, or of all files of a directory, and its documents (Note [Text rules]). Plain
/// text of one file is mapped; all else is put together in memory. Files of gzip and zstd are
/// unpacked unless the reading is `binary`. Move-only; the text stays where it is when the source
/// is moved.
class TextSource {
 public:
  /// Throws Error, naming the file, where there is nothing to read, where a directory holds token
  /// files or is that of a run, where JSON lines are not such, where the rules know no separator,
  /// and, unless `binary`, where a file holds a NUL byte and so is no text.
  TextSource(const std::filesystem::path& path, const TextReading& reading);
  /// Text that is at hand.
  explicit TextSource(std::string text);
  TextSource(TextSource&&) = default;
  TextSource& operator=(TextSource&&) = default;

  std::string_view text() const;
  MarkedText marked() const { return {.text = text(), .marks = marks_, .cuts = cuts_}; }
  /// Throws Error, naming the first conversation, where there is one and `tokenizer` lacks the
  /// tokens for it.
  void require_tokens(const Tokenizer& tokenizer) const;
  /// The same for a tokenizer that is still to be made.
  void require_tokens(const TokenizerSpec& tokenizer) const;
  /// What was read: "text", "4 texts of a directory", "JSON lines, 90 documents".
  const std::string& format() const { return format_; }
  /// What is below the directory and was left out, a clause each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  MappedFile file_;
  std::unique_ptr<std::string> joined_;
  std::vector<Mark> marks_;
  bool cuts_ = true;
  std::string conversation_;  // where the first is; empty without one
  std::string format_ = "text";
  std::vector<std::string> notes_;
};

}  // namespace cllm::data
