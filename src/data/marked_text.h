#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/data/dataset.h"
#include "cllm/data/token_marks.h"
#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// What a special token in a text says.
enum class Marker : std::uint8_t {
  kEndOfDocument,  ///< <|endoftext|>
  kTurnStart,      ///< <|im_start|>, of ChatML
  kTurnEnd,        ///< <|im_end|>
  kPrompt,         ///< no token: what follows is not to be learned, up to the document's end
  kCompletion      ///< no token: what follows is to be learned
};

/// Note [Marks]. A document is bytes that may spell anything, so what stands between documents and
/// turns isn't in the text: it is a list of marks beside it. Each is the special token of a
/// tokenizer that has one. The end of a document is a line's end for a tokenizer that has none: a
/// document is put on a line of its own, and a newline that had to be added for that lies under the
/// mark, where the token takes its place. So the text alone is what tokenizers are trained on, and
/// what those without special tokens read. A text is cut where it is marked, before it is encoded:
/// no token belongs to two documents, nor to a prompt and its completion, as when the model writes.
struct Mark {
  std::uint64_t at = 0;    ///< offset in the text
  std::uint8_t bytes = 0;  ///< of the text under it: 1 where a newline was added, else 0
  Marker marker = Marker::kEndOfDocument;

  std::uint64_t end() const { return at + bytes; }
  bool operator==(const Mark&) const = default;
};

/// A text or a part of one, and its marks in order; someone else owns both.
struct MarkedText {
  std::string_view text;
  std::span<const Mark> marks = {};
  std::uint64_t offset = 0;  ///< of `text` in that from which the marks count
  bool counts = true;        ///< whether what it begins with is to be learned
  /// Documents end also where the tokenizer has no token for it. (By the third rules they left no
  /// trace then, and the text wasn't cut.)
  bool cuts = true;
};

/// Makes a text out of documents.
class DocumentJoiner {
 public:
  /// Adds to the document that is open; the first bytes open one.
  void add(std::string_view text);
  /// Puts a mark behind what was added to the document that is open.
  void mark(Marker marker);
  /// Ends the document that is open; one without a byte is none.
  void end_document();

  std::size_t documents() const { return documents_; }
  const std::string& text() const { return text_; }
  /// The text, on which the joiner ends.
  std::string take_text() { return std::move(text_); }
  std::vector<Mark> take_marks() { return std::move(marks_); }

 private:
  void open();

  std::string text_;
  std::vector<Mark> marks_;
  std::size_t documents_ = 0;
  bool is_open_ = false;
};

/// The token of `marker`; none where the tokenizer has none.
std::optional<std::uint32_t> token_of(const Tokenizer& tokenizer, Marker marker);

/// Whether any of the text's marks, but for the end of its only document, is seen in its tokens or
/// in what is known of them.
bool leaves_marks(const MarkedText& text, const Tokenizer& tokenizer);

/// How many documents a text has, or parts of such.
std::size_t count_documents(const MarkedText& text);

/// Whether all of a text is to be learned.
bool counts_wholly(const MarkedText& text);

/// The bytes that a tokenizer reads: all but those in whose place it puts a token.
std::uint64_t bytes_of(const MarkedText& text, const Tokenizer& tokenizer);

/// XXH3-128 of the bytes and of the marks.
std::string digest_of(const MarkedText& text);

struct TextSplit {
  MarkedText train;
  MarkedText validation;
};

/// About nine tenths of a text, and the rest: cut after a document where one ends less than a
/// fortieth of the text away, else after such a line, else between two characters. (By the first
/// rules: after the next line that ends before the last byte, however far.)
TextSplit split_text(const MarkedText& text, TextRules rules = kTextRules);

/// `encode_parallel` of a text with marks, of which those that the tokenizer has become tokens.
/// What is known of the tokens beside goes to `marks`.
std::uint64_t encode_parallel(
    const Tokenizer& tokenizer, const MarkedText& text, int threads,
    const std::function<void(std::span<const std::uint32_t> tokens, std::size_t bytes)>& sink,
    TokenMarks* marks = nullptr);

}  // namespace cllm::data
