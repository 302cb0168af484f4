#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/data/dataset.h"

namespace cllm::data {

/// The text of a file, mapped, or of all files of a directory, joined by `rules` (Note [Text
/// rules]). Files of gzip and zstd are unpacked into memory unless `binary`. Move-only; the text
/// stays where it is when the source is moved.
class TextSource {
 public:
  /// Throws Error, naming the file, where there is nothing to read, where a directory holds token
  /// files or is that of a run, and, unless `binary`, where a file holds a NUL byte and so is no
  /// text.
  TextSource(const std::filesystem::path& path, bool binary, TextRules rules = kTextRules);
  /// Text that is at hand.
  explicit TextSource(std::string text);
  TextSource(TextSource&&) = default;
  TextSource& operator=(TextSource&&) = default;

  std::string_view text() const;
  /// What was read: "text", "4 texts of a directory".
  const std::string& format() const { return format_; }
  /// What is below the directory and was left out, a clause each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  MappedFile file_;
  std::unique_ptr<std::string> joined_;
  std::string format_ = "text";
  std::vector<std::string> notes_;
};

struct TextSplit {
  std::string_view train;
  std::string_view validation;
};

/// About nine tenths of a text, and the rest: cut after a line where one ends less than a fortieth
/// of the text away, else between two characters. (By the first rules: after the next line that
/// ends before the last byte, however far.)
TextSplit split_text(std::string_view text, TextRules rules = kTextRules);

}  // namespace cllm::data
