#include "marked_text.h"

#include <algorithm>
#include <array>
#include <deque>
#include <future>

#include "cllm/base/digest.h"
#include "cllm/base/utf8.h"

namespace cllm::data {

void DocumentJoiner::open() {
  if (is_open_) return;
  if (!text_.empty() && text_.back() != '\n') {
    text_ += '\n';
    marks_.back().bytes = 1;
  }
  is_open_ = true;
}

void DocumentJoiner::add(std::string_view text) {
  if (text.empty()) return;
  open();
  text_ += text;
}

void DocumentJoiner::mark(Marker marker) {
  open();
  marks_.push_back({.at = text_.size(), .marker = marker});
}

void DocumentJoiner::end_document() {
  if (!is_open_) return;
  mark(Marker::kEndOfDocument);
  is_open_ = false;
  ++documents_;
}

std::optional<std::uint32_t> token_of(const Tokenizer& tokenizer, Marker marker) {
  const auto special = [&](std::string_view name) -> std::optional<std::uint32_t> {
    const auto found = tokenizer.specials().find(name);
    if (found == tokenizer.specials().end()) return {};
    return found->second;
  };
  switch (marker) {
    case Marker::kEndOfDocument:
      return tokenizer.end_of_text();
    case Marker::kTurnStart:
      return special("<|im_start|>");
    case Marker::kTurnEnd:
      return special("<|im_end|>");
    case Marker::kPrompt:
    case Marker::kCompletion:
      break;
  }
  return {};
}

namespace {

/// The tokens of all markers, looked up once.
class MarkerTokens {
 public:
  explicit MarkerTokens(const Tokenizer& tokenizer) {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = token_of(tokenizer, static_cast<Marker>(i));
    }
  }
  const std::optional<std::uint32_t>& operator[](const Mark& mark) const {
    return tokens_[static_cast<std::size_t>(mark.marker)];
  }
  /// Whether a text is cut there.
  bool cuts(const Mark& mark, const MarkedText& text) const {
    return (*this)[mark] || mark.marker == Marker::kPrompt || mark.marker == Marker::kCompletion ||
           (mark.marker == Marker::kEndOfDocument && text.cuts);
  }

 private:
  std::array<std::optional<std::uint32_t>, 5> tokens_;
};

/// A stretch of text without marks, and the token behind it.
struct Piece {
  std::string_view text;
  std::optional<std::uint32_t> token = {};
  bool begins_document = false;
  bool counts = true;
};

/// The tokens of some pieces, and how many each has.
struct Encoded {
  Encoding encoding;
  std::vector<Piece> pieces;
  std::vector<std::size_t> tokens;  // of each piece, with the one behind it
};

Encoded encode(const Tokenizer& tokenizer, std::vector<Piece> pieces) {
  Encoded all;
  Encoding& encoding = all.encoding;
  for (const Piece& piece : pieces) {
    const Encoding one = tokenizer.encode_counting(piece.text);
    encoding.tokens.insert(encoding.tokens.end(), one.tokens.begin(), one.tokens.end());
    encoding.lost_bytes += one.lost_bytes;
    if (piece.token) encoding.tokens.push_back(*piece.token);
    all.tokens.push_back(one.tokens.size() + (piece.token ? 1 : 0));
  }
  all.pieces = std::move(pieces);
  return all;
}

/// Cuts a marked text into pieces: at marks that have tokens, and between chunks.
class Pieces {
 public:
  Pieces(const Tokenizer& tokenizer, const MarkedText& text)
      : tokenizer_(tokenizer), tokens_(tokenizer), all_(text), counts_(text.counts) {
    find_mark();
  }

  bool done() const { return at_ == all_.text.size() && mark_ == all_.marks.size(); }
  /// Bytes of the text before what comes next.
  std::size_t position() const { return at_; }

  /// The next piece, of about `most` bytes at most.
  Piece next(std::size_t most) {
    const bool has_mark = mark_ < all_.marks.size();
    const std::size_t end = has_mark ? place_of(all_.marks[mark_]) : all_.text.size();
    const std::string_view rest = all_.text.substr(at_, end - at_);
    std::size_t length = 0;
    while (length < rest.size() && length < most) {
      length += tokenizer_.chunk_length(rest.substr(length));
    }
    Piece piece{.text = rest.substr(0, length), .begins_document = begins_, .counts = counts_};
    if (length > 0) begins_ = false;
    at_ += length;
    if (has_mark && at_ == end) pass(all_.marks[mark_], piece);
    return piece;
  }

 private:
  void find_mark() {
    while (mark_ < all_.marks.size() && !tokens_.cuts(all_.marks[mark_], all_)) ++mark_;
  }
  /// Where the text is cut: a newline under a mark that has no token belongs before it.
  std::size_t place_of(const Mark& mark) const {
    return (tokens_[mark] ? mark.at : mark.end()) - all_.offset;
  }
  /// The mark that ends a piece.
  void pass(const Mark& mark, Piece& piece) {
    piece.token = tokens_[mark];
    if (piece.token) {
      at_ += mark.bytes;
      begins_ = false;
    }
    if (mark.marker == Marker::kPrompt) counts_ = false;
    if (mark.marker == Marker::kCompletion) counts_ = true;
    if (mark.marker == Marker::kEndOfDocument) counts_ = begins_ = true;
    ++mark_;
    find_mark();
  }

  const Tokenizer& tokenizer_;
  MarkerTokens tokens_;
  MarkedText all_;
  std::size_t at_ = 0, mark_ = 0;
  bool begins_ = true, counts_;
};

}  // namespace

bool leaves_marks(const MarkedText& text, const Tokenizer& tokenizer) {
  const MarkerTokens tokens(tokenizer);
  const bool has_tokens =
      std::ranges::any_of(text.marks, [&](const Mark& mark) { return tokens[mark].has_value(); });
  return has_tokens || !counts_wholly(text) || (text.cuts && count_documents(text) > 1);
}

std::size_t count_documents(const MarkedText& text) {
  const auto ends_inside = [&](const Mark& mark) {
    return mark.marker == Marker::kEndOfDocument && mark.end() - text.offset < text.text.size();
  };
  return 1 + static_cast<std::size_t>(std::ranges::count_if(text.marks, ends_inside));
}

bool counts_wholly(const MarkedText& text) {
  return text.counts && std::ranges::none_of(text.marks, [](const Mark& mark) {
           return mark.marker == Marker::kPrompt;
         });
}

std::uint64_t bytes_of(const MarkedText& text, const Tokenizer& tokenizer) {
  const MarkerTokens tokens(tokenizer);
  std::uint64_t bytes = text.text.size();
  for (const Mark& mark : text.marks) bytes -= tokens[mark] ? mark.bytes : 0;
  return bytes;
}

std::string digest_of(const MarkedText& text) {
  Digest digest;
  digest.update(digest_hex(std::as_bytes(std::span(text.text))));
  for (const Mark& mark : text.marks) {
    const std::array<std::uint64_t, 2> numbers = {
        mark.at - text.offset,
        mark.bytes * std::uint64_t{256} + static_cast<unsigned>(mark.marker)};
    digest.update(std::as_bytes(std::span(numbers)));
  }
  return digest.hex();
}

namespace {

/// Where a document ends nearest behind `place`, else before it, at most `near` bytes away and
/// within the text.
std::optional<std::size_t> document_end(const MarkedText& text, std::size_t place,
                                        std::size_t near) {
  const auto end_of = [&](const Mark& mark) { return mark.end() - text.offset; };
  const auto first = std::ranges::partition_point(
      text.marks, [&](const Mark& mark) { return end_of(mark) < place; });
  for (auto mark = first; mark != text.marks.end() && end_of(*mark) <= place + near; ++mark) {
    const bool is_inside = end_of(*mark) > 0 && end_of(*mark) < text.text.size();
    if (mark->marker == Marker::kEndOfDocument && is_inside) return end_of(*mark);
  }
  for (auto mark = first; mark != text.marks.begin();) {
    --mark;
    if (end_of(*mark) == 0 || end_of(*mark) + near < place) break;
    if (mark->marker == Marker::kEndOfDocument) return end_of(*mark);
  }
  return {};
}

std::optional<std::size_t> line_end(std::string_view text, std::size_t place, std::size_t near,
                                    TextRules rules) {
  const std::string_view after = text.substr(place, near);
  const std::string_view before = text.substr(place - std::min(near, place), near);
  const std::size_t next = after.find('\n'), last = before.rfind('\n');
  if (next != after.npos && place + next + 1 < text.size()) return place + next + 1;
  if (last == before.npos || rules == TextRules::kFirst) return {};
  return place - before.size() + last + 1;
}

}  // namespace

TextSplit split_text(const MarkedText& all, TextRules rules) {
  constexpr std::size_t kNear = 40;  // a line ends near where it is as part of the text
  const std::string_view text = all.text;
  const std::size_t nine_tenths = text.size() / 10 * 9 + text.size() % 10 * 9 / 10;
  const std::size_t near = rules == TextRules::kFirst ? text.size() : text.size() / kNear;
  std::optional<std::size_t> cut = document_end(all, nine_tenths, near);
  if (!cut) cut = line_end(text, nine_tenths, near, rules);
  if (!cut) cut = utf8_boundary(text, nine_tenths);
  // What begins at the cut belongs behind it, what ends there before it.
  const auto behind = std::ranges::partition_point(all.marks, [&](const Mark& mark) {
    const std::size_t end = mark.end() - all.offset;
    const bool begins = mark.marker == Marker::kTurnStart || mark.marker == Marker::kPrompt;
    return end < *cut || (end == *cut && !begins);
  });
  const auto before = static_cast<std::size_t>(behind - all.marks.begin());
  bool counts = all.counts;  // behind the cut, which may lie within a document
  for (const Mark& mark : all.marks.first(before)) {
    if (mark.marker == Marker::kPrompt) counts = false;
    if (mark.marker == Marker::kCompletion || mark.marker == Marker::kEndOfDocument) counts = true;
  }
  return {{text.substr(0, *cut), all.marks.first(before), all.offset, all.counts, all.cuts},
          {text.substr(*cut), all.marks.subspan(before), all.offset + *cut, counts, all.cuts}};
}

std::uint64_t encode_parallel(
    const Tokenizer& tokenizer, const MarkedText& text, int threads,
    const std::function<void(std::span<const std::uint32_t>, std::size_t)>& sink,
    TokenMarks* marks) {
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  struct Block {
    std::size_t bytes;
    std::future<Encoded> encoded;
  };
  std::deque<Block> running;
  std::uint64_t lost = 0;
  bool begins = false;  // a document, with the next token
  const auto hand_over_first = [&] {
    const Encoded encoded = running.front().encoded.get();
    sink(encoded.encoding.tokens, running.front().bytes);
    lost += encoded.encoding.lost_bytes;
    for (std::size_t i = 0; marks != nullptr && i < encoded.pieces.size(); ++i) {
      const Piece& piece = encoded.pieces[i];
      begins = begins || piece.begins_document;
      if (begins && encoded.tokens[i] > 0) {
        marks->begin_document();
        begins = false;
      }
      marks->add(encoded.tokens[i], piece.text.size(), piece.counts);
    }
    running.pop_front();
  };
  Pieces pieces(tokenizer, text);
  while (!pieces.done()) {
    const std::size_t begin = pieces.position();
    std::vector<Piece> block;
    while (!pieces.done() && pieces.position() - begin < kBlock) {
      block.push_back(pieces.next(kBlock - (pieces.position() - begin)));
    }
    running.push_back(
        {pieces.position() - begin,
         std::async(std::launch::async, [&tokenizer, block = std::move(block)]() mutable {
           return encode(tokenizer, std::move(block));
         })});
    if (running.size() >= static_cast<std::size_t>(std::max(1, threads))) hand_over_first();
  }
  while (!running.empty()) hand_over_first();
  return lost;
}

std::uint64_t encode_parallel(
    const Tokenizer& tokenizer, std::string_view text, int threads,
    const std::function<void(std::span<const std::uint32_t>, std::size_t)>& sink) {
  return encode_parallel(tokenizer, MarkedText{text}, threads, sink);
}

}  // namespace cllm::data
