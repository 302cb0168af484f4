#include "text_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "cllm/base/error.h"
#include "cllm/data/token_file.h"
#include "json_lines.h"
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

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

/// Adds a file to a text by the first rules, just so, or by the second.
void join(std::string_view text, TextRules rules, std::string& joined) {
  if (rules != TextRules::kFirst) {
    text = without_byte_order_mark(text);
    if (!joined.empty() && joined.back() != '\n' && !text.empty()) joined += '\n';
  }
  joined += text;
}

/// Adds the documents of a file of plain text: what stands between separators, or all.
void add_documents(std::string_view text, const std::string& separator, DocumentJoiner& joiner) {
  while (!separator.empty()) {
    const std::size_t end = text.find(separator);
    if (end == text.npos) break;
    joiner.add(text.substr(0, end));
    joiner.end_document();
    text.remove_prefix(end + separator.size());
  }
  joiner.add(text);
  joiner.end_document();
}

std::string count_of(std::size_t count, std::string_view thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

/// Reads the files of a text, one after the other.
class FileReader {
 public:
  explicit FileReader(const TextReading& reading) : reading_(reading) {}

  void add(const fs::path& path) {
    const MappedFile mapped(path);
    const bool is_lines = reading_.rules >= TextRules::kThird && names_json_lines(path);
    const std::optional<std::string> packed = unpacked(mapped, path, reading_.binary && !is_lines);
    const std::string_view text = packed ? std::string_view(*packed) : text_of(mapped);
    if (!reading_.binary) require_text(text, path);
    if (reading_.rules < TextRules::kThird) {
      join(text, reading_.rules, joined_);
    } else if (is_lines) {
      add_json_lines(without_byte_order_mark(text), path.string(), reading_, joiner_,
                     conversation_);
    } else {
      add_documents(without_byte_order_mark(text), reading_.separator, joiner_);
    }
  }

  std::size_t documents() const { return joiner_.documents(); }
  const std::string& conversation() const { return conversation_; }
  std::vector<Mark> take_marks() { return joiner_.take_marks(); }
  std::string take_text() {
    return reading_.rules < TextRules::kThird ? std::move(joined_) : joiner_.take_text();
  }

 private:
  const TextReading& reading_;
  std::string joined_;  // by the first and second rules
  DocumentJoiner joiner_;
  std::string conversation_;
};

}  // namespace

TextSource::TextSource(const fs::path& path, const TextReading& reading)
    : cuts_(reading.rules >= TextRules::kFourth) {
  if (!reading.separator.empty() && reading.rules < TextRules::kThird) {
    fail(
        "--document-separator: this run began with a version that knew no documents, and goes on "
        "with the same tokens; leave the option out, or begin a new run with --init-from");
  }
  std::error_code ignored;  // the status of what can't be read is left to opening it
  const bool is_directory = fs::is_directory(path, ignored);
  const bool is_lines = reading.rules >= TextRules::kThird && names_json_lines(path);
  const bool is_put_together = is_directory || is_lines || !reading.separator.empty();
  FileReader reader(reading);
  if (is_directory) {
    const Folder folder(path, reading.rules);
    for (const fs::path& file : folder.files()) {
      if (is_token_file(file)) {
        fail("{} holds token files, like {}: give one of them instead of the directory",
             path.string(), file.filename().string());
      }
      reader.add(file);
    }
    format_ = count_of(folder.files().size(), "text") + " of a directory";
    if (reader.documents() != folder.files().size() && reading.rules >= TextRules::kThird) {
      format_ += ", " + count_of(reader.documents(), "document");
    }
    notes_ = folder.notes();
  } else if (is_put_together) {
    reader.add(path);
    format_ = (is_lines ? "JSON lines, " : "text, ") + count_of(reader.documents(), "document");
  } else {
    file_ = MappedFile(path);
    if (std::optional<std::string> packed = unpacked(file_, path, reading.binary)) {
      joined_ = std::make_unique<std::string>(*std::move(packed));
      format_ = "packed text";
    }
    if (!reading.binary) require_text(text(), path);
    if (reading.rules >= TextRules::kThird) marks_ = {{.at = text().size()}};
  }
  if (is_put_together) {
    joined_ = std::make_unique<std::string>(reader.take_text());
    marks_ = reader.take_marks();
    conversation_ = reader.conversation();
  }
  if (text().empty()) fail("{} is empty: give a file with text", path.string());
}

TextSource::TextSource(std::string text)
    : joined_(std::make_unique<std::string>(std::move(text))) {}

std::string_view TextSource::text() const {
  return joined_ ? std::string_view(*joined_) : text_of(file_);
}

void TextSource::require_tokens(const Tokenizer& tokenizer) const {
  if (conversation_.empty()) return;
  for (const Marker marker : {Marker::kTurnStart, Marker::kTurnEnd}) {
    if (token_of(tokenizer, marker)) continue;
    fail(
        "{} is a conversation, for which the tokenizer lacks <|im_start|> or <|im_end|>: give "
        "--tokenizer bpe:N with --special-tokens chatml, or a tokenizer that has both",
        conversation_);
  }
}

void TextSource::require_tokens(const TokenizerSpec& tokenizer) const {
  if (conversation_.empty() || !tokenizer.is_trained() ||
      tokenizer.specials == SpecialTokens::kChatMl) {
    return;
  }
  fail("{} is a conversation: give --special-tokens chatml with --tokenizer {}", conversation_,
       to_string(tokenizer));
}

}  // namespace cllm::data
