#include "text_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "cllm/base/error.h"
#include "cllm/base/utf8.h"
#include "cllm/data/token_file.h"
#include "unpack.h"

namespace cllm::data {
namespace {

namespace fs = std::filesystem;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// What a packed file holds; none of one that is not, or that was asked for as bytes.
std::optional<std::string> unpacked(const MappedFile& file, const fs::path& path, bool binary) {
  if (binary || !is_packed(file.bytes())) return {};
  return unpack(file.bytes(), path.string());
}

void require_text(std::string_view text, const fs::path& path) {
  const std::size_t nul = text.find('\0');
  if (nul == text.npos) return;
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    fail("{} is text in UTF-16: make it UTF-8, as with iconv -f UTF-16 -t UTF-8", path.string());
  }
  fail(
      "{} is not text: byte {} is NUL; give plain text, a token file, or --tokenizer bytes to "
      "train on raw bytes",
      path.string(), nul);
}

/// Where runs keep tokens; a run's directory is known by its log and its checkpoints, which are
/// named so.
constexpr std::string_view kCacheName = "token-cache";
constexpr std::string_view kLogName = "metrics.jsonl", kConfigName = "config.toml";
constexpr std::string_view kCheckpointPrefix = "step-", kCheckpointSuffix = ".h5";

bool holds_a_run(const fs::path& directory) {
  if (fs::exists(directory / kLogName) && fs::exists(directory / kConfigName)) return true;
  return std::ranges::any_of(fs::directory_iterator(directory), [](const auto& entry) {
    const std::string name = entry.path().filename().string();
    return name.starts_with(kCheckpointPrefix) && name.ends_with(kCheckpointSuffix);
  });
}

/// The files of a directory that are texts.
class Folder {
 public:
  Folder(const fs::path& directory, TextRules rules) : follows_links_(rules != TextRules::kFirst) {
    try {
      if (holds_a_run(directory)) {
        fail("{} is the directory of a run: give one that holds only texts", directory.string());
      }
      is_new(directory);
      add(directory);
    } catch (const fs::filesystem_error& error) {
      fail("cannot read the directory {}: {}", directory.string(), error.code().message());
    }
    std::sort(files_.begin(), files_.end());
    if (files_.empty()) fail("the directory {} holds no files to train on", directory.string());
  }

  const std::vector<fs::path>& files() const { return files_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  void add(const fs::path& directory) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(directory)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const fs::path& path : paths) {
      if (path.filename().string().starts_with('.')) continue;
      const fs::file_status status = fs::status(path);
      if (!fs::exists(status) && follows_links_) {
        fail("{} is a link to nothing: mend or remove it", path.string());
      }
      if (fs::is_regular_file(status)) {
        if (is_new(path)) files_.push_back(path);
      } else if (fs::is_directory(status) && (follows_links_ || !fs::is_symlink(path))) {
        if (path.filename() == kCacheName || holds_a_run(path)) {
          notes_.push_back(path.string() + " was left out: this program wrote it");
        } else if (is_new(path)) {
          add(path);
        }
      }
    }
  }

  /// Whether no other name led to the same file or directory: what links make of one text stays
  /// one, and there is no way round in circles.
  bool is_new(const fs::path& path) {
    return !follows_links_ || seen_.insert(fs::canonical(path)).second;
  }

  bool follows_links_;
  std::set<fs::path> seen_;
  std::vector<fs::path> files_;
  std::vector<std::string> notes_;
};

/// Adds a file to a text. By the first rules just so; now without its byte order mark, and on a
/// line of its own.
void join(std::string_view text, TextRules rules, std::string& joined) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (rules != TextRules::kFirst) {
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    if (!joined.empty() && joined.back() != '\n' && !text.empty()) joined += '\n';
  }
  joined += text;
}

}  // namespace

TextSource::TextSource(const fs::path& path, bool binary, TextRules rules) {
  std::error_code ignored;  // the status of what can't be read is left to opening it
  if (fs::is_directory(path, ignored)) {
    const Folder folder(path, rules);
    joined_ = std::make_unique<std::string>();
    for (const fs::path& file : folder.files()) {
      if (is_token_file(file)) {
        fail("{} holds token files, like {}: give one of them instead of the directory",
             path.string(), file.filename().string());
      }
      const MappedFile mapped(file);
      const std::optional<std::string> packed = unpacked(mapped, file, binary);
      const std::string_view text = packed ? std::string_view(*packed) : text_of(mapped);
      if (!binary) require_text(text, file);
      join(text, rules, *joined_);
    }
    format_ = fmt::format("{} text{} of a directory", folder.files().size(),
                          folder.files().size() == 1 ? "" : "s");
    notes_ = folder.notes();
  } else {
    file_ = MappedFile(path);
    if (std::optional<std::string> packed = unpacked(file_, path, binary)) {
      joined_ = std::make_unique<std::string>(*std::move(packed));
      format_ = "packed text";
    }
    if (!binary) require_text(text(), path);
  }
  if (text().empty()) fail("{} is empty: give a file with text", path.string());
}

TextSource::TextSource(std::string text)
    : joined_(std::make_unique<std::string>(std::move(text))) {}

std::string_view TextSource::text() const {
  return joined_ ? std::string_view(*joined_) : text_of(file_);
}

TextSplit split_text(std::string_view text, TextRules rules) {
  constexpr std::size_t kNear = 40;  // a line ends near where it is as part of the text
  const std::size_t nine_tenths = text.size() / 10 * 9 + text.size() % 10 * 9 / 10;
  const std::size_t near = rules == TextRules::kFirst ? text.size() : text.size() / kNear;
  const std::string_view after = text.substr(nine_tenths, near);
  const std::string_view before = text.substr(nine_tenths - std::min(near, nine_tenths), near);
  const std::size_t next = after.find('\n'), last = before.rfind('\n');
  std::size_t cut = utf8_boundary(text, nine_tenths);
  if (next != after.npos && nine_tenths + next + 1 < text.size()) {
    cut = nine_tenths + next + 1;
  } else if (last != before.npos && rules != TextRules::kFirst) {
    cut = nine_tenths - before.size() + last + 1;
  }
  return {text.substr(0, cut), text.substr(cut)};
}

}  // namespace cllm::data
