#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cllm/data/token_file.h"
#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// Note [Text rules]. How files become one text, and where a text is cut into what trains and what
/// validates. A run keeps the rules that it began with, which its checkpoints say, so that it goes
/// on with the same tokens.
enum class TextRules : int {
  kFirst = 1,   ///< files joined as `cat` would; cut after the next line, however far
  kSecond = 2,  ///< a file without its byte order mark and on a line of its own; cut close by
  kThird = 3,   ///< that, and documents, which end with <|endoftext|>; JSON lines are read as such
  kFourth = 4   ///< that, and prompts and completions, between which the text is cut
};
inline constexpr TextRules kTextRules = TextRules::kFourth;

/// How a text is read.
struct TextReading {
  bool binary = false;  ///< files need not be text, and packed ones stay so
  TextRules rules = kTextRules;
  std::string separator = {};  ///< between documents of a file of plain text; empty: it is one
};

/// Where training data comes from. A text trains with its first nine tenths, and validates with the
/// rest; a token file likewise by tokens; unless `validation` names a file of its own.
struct DataOptions {
  /// A file of text or JSON lines, a token file, a directory, or "builtin". Of a directory, the
  /// regular files below it, also through links, sorted by path, are one text; what is hidden or
  /// was written by runs is left out. But a directory with nanoGPT's train.bin and val.bin stands
  /// for these two.
  std::string data = "builtin";
  std::string validation;                  ///< a text or token file; empty: a part of `data`
  std::optional<TokenizerSpec> tokenizer;  ///< none: what a token file carries; bytes for text
  std::shared_ptr<const Tokenizer>
      known_tokenizer;          ///< of a run that goes on; wins over `tokenizer`
  std::filesystem::path cache;  ///< directory for tokenizers and token files
  std::uint64_t context = 1;    ///< T: the training part must hold T+1 tokens
  int threads = 1;              ///< for encoding
  TextRules text_rules = kTextRules;
  std::string document_separator;  ///< `TextReading::separator` of all texts
  std::uint64_t builtin_seed = 1;
  std::size_t builtin_bytes = std::size_t{4} << 20;
};

/// One part of prepared data: tokens [first, first + count) of a token file.
struct PreparedPart {
  std::string path;  ///< empty: of the built-in corpus, which is in no file
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::uint64_t source_bytes = 0;   ///< of the text they came from; 0 where unknown
  std::string token_digest;         ///< of the whole file's tokens
  std::string format;               ///< what the data was recognised as, for people
  std::string marks_digest = {};    ///< of where documents begin and what counts; empty without
  bool is_one_document = false;     ///< a text that is known to be one
  std::uint64_t counted = 0;        ///< tokens that count as targets; 0: all
  std::uint64_t counted_bytes = 0;  ///< of the text they came from; 0 where unknown
};

/// All that a rank must know to open the data that one rank prepared.
struct PreparedData {
  PreparedPart train;
  PreparedPart validation;
  std::uint64_t vocabulary = 0;
  std::string tokenizer_kind;  ///< empty where the tokenizer of a token file is unknown
  std::string tokenizer_blob;
  std::uint64_t builtin_seed = 0;
  std::uint64_t builtin_bytes = 0;

  /// Changes when any token of either part does; a resumed run compares it.
  std::string digest() const;
  /// Bytes to broadcast, and back. `parse` throws Error where they were not made by `serialize`.
  std::string serialize() const;
  static PreparedData parse(std::string_view bytes);
};

/// Told in a sentence what is going on, from the calling thread, about once a second at most while
/// something long is.
using Progress = std::function<void(const std::string& message)>;

/// Reads, trains the tokenizer on the training part, encodes, and writes both to the cache; or
/// finds there what it made before from the same bytes. Call it on one rank. Throws Error that
/// names the file or option.
PreparedData prepare_data(const DataOptions& options, const Progress& progress = {});

/// Encodes all of `options.data` into one token file. The tokenizer is trained on the first 90 %,
/// which is what the file will train with.
void tokenize_data(const DataOptions& options, const std::filesystem::path& out,
                   const Progress& progress = {});

/// What a token file's text is not: exact.
struct Detokenized {
  std::uint64_t bytes = 0;     ///< of text
  std::uint64_t specials = 0;  ///< tokens that stand for no text
};

/// Hands over the text of a token file in order, some MiB at a time. Of one that carries no
/// tokenizer, `tokenizer` says what its tokens are. Throws Error where that is not known or another
/// one.
Detokenized detokenize(const std::string& path, const std::optional<TokenizerSpec>& tokenizer,
                       const std::function<void(std::string_view text)>& sink);

/// Tokens to train or evaluate on, and the file that holds them.
struct DataPart {
  /// Where its documents begin; nothing known of token files of before.
  Documents documents() const;
  /// Which of its tokens count as targets.
  TokenMask mask() const;

  std::shared_ptr<const TokenFile> file;
  TokenView tokens;
  std::uint64_t source_bytes = 0;
  std::uint64_t lost_bytes = 0;     ///< of that, not given back by the tokens; 0 where unknown
  std::string format;               ///< what the data was recognised as, for people
  std::uint64_t first = 0;          ///< of `tokens` in the file's
  bool is_one_document = false;     ///< a text that is known to be one
  std::uint64_t counted = 0;        ///< tokens that count as targets; 0: all
  std::uint64_t counted_bytes = 0;  ///< of the text they came from; 0 where unknown

  /// Bytes of text per token that counts by the mask, or per token without one. As
  /// `bytes_per_token` below.
  std::optional<double> bytes_per_counted_token() const;
  /// Bytes of text per token; a loss in nats per token is loss / ln 2 / bytes_per_token bits per
  /// byte. None where the text's size is unknown.
  std::optional<double> bytes_per_token() const;
};

/// What a rank trains with. Reading is thread-safe.
struct Dataset {
  DataPart train;
  DataPart validation;
  std::uint64_t vocabulary = 0;
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null where unknown
};

/// Opens what `prepare_data` made; any rank may. Throws Error where a file is not what was
/// prepared, for instance because a node sees another file system.
Dataset open_dataset(const PreparedData& prepared, int threads = 1);

/// The whole of a text file, directory or token file, for a model that has its vocabulary and its
/// tokenizer already; null where that is unknown: then only a token file will do. A token file must
/// have been made with that tokenizer, or say nothing of its own. Throws Error, also where it has
/// fewer than two tokens.
DataPart load_part(const std::string& path, const Tokenizer* tokenizer, std::uint64_t vocabulary,
                   int threads = 1, const TextReading& reading = {});

}  // namespace cllm::data
