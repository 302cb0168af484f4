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
  if (marker == Marker::kEndOfDocument) return tokenizer.end_of_text();
  const auto found =
      tokenizer.specials().find(marker == Marker::kTurnStart ? "<|im_start|>" : "<|im_end|>");
  if (found == tokenizer.specials().end()) return {};
  return found->second;
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

 private:
  std::array<std::optional<std::uint32_t>, 3> tokens_;
};

/// A stretch of text without marks, and the token behind it.
struct Piece {
  std::string_view text;
  std::optional<std::uint32_t> token;
};

Encoding encode(const Tokenizer& tokenizer, const std::vector<Piece>& pieces) {
  Encoding all;
  for (const Piece& piece : pieces) {
    const Encoding one = tokenizer.encode_counting(piece.text);
    all.tokens.insert(all.tokens.end(), one.tokens.begin(), one.tokens.end());
    all.lost_bytes += one.lost_bytes;
    if (piece.token) all.tokens.push_back(*piece.token);
  }
  return all;
}

/// Cuts a marked text into pieces: at marks that have tokens, and between chunks.
class Pieces {
 public:
  Pieces(const Tokenizer& tokenizer, const MarkedText& text)
      : tokenizer_(tokenizer), tokens_(tokenizer), all_(text) {
    find_mark();
  }

  bool done() const { return at_ == all_.text.size() && mark_ == all_.marks.size(); }
  /// Bytes of the text before what comes next.
  std::size_t position() const { return at_; }

  /// The next piece, of about `most` bytes at most.
  Piece next(std::size_t most) {
    const bool has_mark = mark_ < all_.marks.size();
    const std::size_t end = has_mark ? all_.marks[mark_].at - all_.offset : all_.text.size();
    const std::string_view rest = all_.text.substr(at_, end - at_);
    std::size_t length = 0;
    while (length < rest.size() && length < most) {
      length += tokenizer_.chunk_length(rest.substr(length));
    }
    Piece piece{rest.substr(0, length), {}};
    at_ += length;
    if (has_mark && at_ == end) {
      piece.token = tokens_[all_.marks[mark_]];
      at_ += all_.marks[mark_].bytes;
      ++mark_;
      find_mark();
    }
    return piece;
  }

 private:
  void find_mark() {
    while (mark_ < all_.marks.size() && !tokens_[all_.marks[mark_]]) ++mark_;
  }

  const Tokenizer& tokenizer_;
  MarkerTokens tokens_;
  MarkedText all_;
  std::size_t at_ = 0, mark_ = 0;
};

}  // namespace

bool has_tokens(const MarkedText& text, const Tokenizer& tokenizer) {
  const MarkerTokens tokens(tokenizer);
  return std::ranges::any_of(text.marks,
                             [&](const Mark& mark) { return tokens[mark].has_value(); });
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
    return end < *cut || (end == *cut && mark.marker != Marker::kTurnStart);
  });
  const auto before = static_cast<std::size_t>(behind - all.marks.begin());
  return {{text.substr(0, *cut), all.marks.first(before), all.offset},
          {text.substr(*cut), all.marks.subspan(before), all.offset + *cut}};
}

std::uint64_t encode_parallel(
    const Tokenizer& tokenizer, const MarkedText& text, int threads,
    const std::function<void(std::span<const std::uint32_t>, std::size_t)>& sink) {
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  struct Block {
    std::size_t bytes;
    std::future<Encoding> encoding;
  };
  std::deque<Block> running;
  std::uint64_t lost = 0;
  const auto hand_over_first = [&] {
    const Encoding encoding = running.front().encoding.get();
    sink(encoding.tokens, running.front().bytes);
    lost += encoding.lost_bytes;
    running.pop_front();
  };
  Pieces pieces(tokenizer, text);
  while (!pieces.done()) {
    const std::size_t begin = pieces.position();
    std::vector<Piece> block;
    while (!pieces.done() && pieces.position() - begin < kBlock) {
      block.push_back(pieces.next(kBlock - (pieces.position() - begin)));
    }
    running.push_back({pieces.position() - begin,
                       std::async(std::launch::async, [&tokenizer, block = std::move(block)] {
                         return encode(tokenizer, block);
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
