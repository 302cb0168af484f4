#include "text_source.h"

#include <algorithm>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/data/token_file.h"
#include "utf8.h"

namespace cllm::data {
namespace {

namespace fs = std::filesystem;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

void require_text(std::string_view text, const fs::path& path) {
  const std::size_t nul = text.find('\0');
  if (nul == text.npos) return;
  fail(
      "{} is not text: byte {} is NUL; give plain text, a token file, or --tokenizer bytes to "
      "train "
      "on raw bytes",
      path.string(), nul);
}

/// The regular files below a directory, sorted by path; nothing hidden, and links to directories
/// are not followed, so there is no way round in circles.
std::vector<fs::path> files_below(const fs::path& directory) {
  std::vector<fs::path> files;
  try {
    for (auto entry = fs::recursive_directory_iterator(directory);
         entry != fs::recursive_directory_iterator(); ++entry) {
      if (entry->path().filename().string().starts_with('.')) {
        entry.disable_recursion_pending();
      } else if (entry->is_regular_file()) {
        files.push_back(entry->path());
      }
    }
  } catch (const fs::filesystem_error& error) {
    fail("cannot read the directory {}: {}", directory.string(), error.code().message());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) fail("the directory {} holds no files to train on", directory.string());
  return files;
}

}  // namespace

TextSource::TextSource(const fs::path& path, bool binary) {
  std::error_code ignored;  // the status of what can't be read is left to opening it
  if (fs::is_directory(path, ignored)) {
    joined_ = std::make_unique<std::string>();
    for (const fs::path& file : files_below(path)) {
      if (is_token_file(file)) {
        fail("{} holds token files, like {}: give one of them instead of the directory",
             path.string(), file.filename().string());
      }
      const MappedFile mapped(file);
      if (!binary) require_text(text_of(mapped), file);
      *joined_ += text_of(mapped);
    }
  } else {
    file_ = MappedFile(path);
    if (!binary) require_text(text_of(file_), path);
  }
  if (text().empty()) fail("{} is empty: give a file with text", path.string());
}

TextSource::TextSource(std::string text)
    : joined_(std::make_unique<std::string>(std::move(text))) {}

std::string_view TextSource::text() const {
  return joined_ ? std::string_view(*joined_) : text_of(file_);
}

TextSplit split_text(std::string_view text) {
  const std::size_t nine_tenths = text.size() / 10 * 9 + text.size() % 10 * 9 / 10;
  const std::size_t newline = text.find('\n', nine_tenths);
  const bool after_newline = newline != text.npos && newline + 1 < text.size();
  const std::size_t cut = after_newline ? newline + 1 : utf8_boundary(text, nine_tenths);
  return {text.substr(0, cut), text.substr(cut)};
}

}  // namespace cllm::data
