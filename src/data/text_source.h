#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "cllm/base/file.h"

namespace cllm::data {

/// The text of a file, mapped, or of all files of a directory, joined. Move-only; the text stays
/// where it is when the source is moved.
class TextSource {
 public:
  /// Throws Error, naming the file, where there is nothing to read, where a directory holds token
  /// files, and, unless `binary`, where a file holds a NUL byte and so is no text.
  TextSource(const std::filesystem::path& path, bool binary);
  /// Text that is at hand.
  explicit TextSource(std::string text);
  TextSource(TextSource&&) = default;
  TextSource& operator=(TextSource&&) = default;

  std::string_view text() const;

 private:
  MappedFile file_;
  std::unique_ptr<std::string> joined_;
};

struct TextSplit {
  std::string_view train;
  std::string_view validation;
};

/// The first 90 % of the bytes, cut after the next newline, and the rest. Where no newline follows,
/// or nothing follows that newline, the cut is between two characters.
TextSplit split_text(std::string_view text);

}  // namespace cllm::data
