#include "cllm/data/token_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "support/environment.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;

using testing::HasSubstr;
using Tokens = std::vector<std::uint32_t>;

/// A tokenizer with a vocabulary of any size: token t stands for its number.
class NumberTokenizer final : public Tokenizer {
 public:
  explicit NumberTokenizer(std::uint32_t size) : Tokenizer(numbers(size)) {}
  std::string kind() const override { return "numbers"; }
  std::string blob() const override { return std::string("a\0b", 3); }
  bool lossless() const override { return false; }
  std::string piece(std::uint32_t token) const override { return std::string(token_bytes(token)); }

 protected:
  void encode_chunk(std::string_view, Tokens&) const override {}

 private:
  static std::vector<std::string> numbers(std::uint32_t size) {
    std::vector<std::string> bytes;
    for (std::uint32_t i = 0; i < size; ++i) bytes.push_back(std::to_string(i));
    return bytes;
  }
};

Tokens random_tokens(std::size_t count, std::uint32_t vocabulary) {
  RandomStream random(1, count);
  Tokens tokens(count);
  for (auto& token : tokens) token = static_cast<std::uint32_t>(random.below(vocabulary));
  return tokens;
}

Tokens all_of(TokenView view) {
  Tokens tokens(view.size());
  view.copy(0, view.size(), tokens.data());
  return tokens;
}

template <typename T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

void write(const std::filesystem::path& path, const Tokens& tokens, std::uint32_t vocabulary) {
  write_token_file(path, NumberTokenizer(vocabulary), 123456, [&](const AppendTokens& append) {
    append(std::span(tokens).first(tokens.size() / 3));
    append({});
    append(std::span(tokens).subspan(tokens.size() / 3));
  });
}

class TokenFileTest : public testing::Test {
 protected:
  std::filesystem::path path(const char* name) const { return scratch_.path() / name; }
  /// A small file of ours, with some of its bytes replaced.
  std::string altered(std::size_t offset, std::string_view bytes) const {
    write(path("good.tokens"), Tokens{1, 2, 3, 4, 5}, 10);
    std::string contents = read_file(path("good.tokens"));
    contents.replace(offset, bytes.size(), bytes);
    return scratch_.write("bad.tokens", contents);
  }
  static std::string open_error(const std::filesystem::path& file,
                                TokenFile::Check check = TokenFile::Check::tokens) {
    const std::string message = error_of([&] { TokenFile::open(file, check); });
    EXPECT_THAT(message, HasSubstr(file.string()));
    return message;
  }
  support::ScratchDirectory scratch_;
};

TEST_F(TokenFileTest, HoldsWhatWasWritten) {
  // Both widths, on either side of the border between them.
  for (const std::uint32_t vocabulary : {300u, 65536u, 65537u, 70000u}) {
    const Tokens tokens = random_tokens(10'001, vocabulary);
    write(path("x.tokens"), tokens, vocabulary);
    const TokenFile file = TokenFile::open(path("x.tokens"), TokenFile::Check::digests);
    const TokenFileInfo& info = file.info();
    EXPECT_EQ(all_of(file.tokens()), tokens);
    EXPECT_EQ(info.format, "cllm");
    EXPECT_EQ(info.vocabulary, vocabulary);
    EXPECT_EQ(info.source_bytes, 123456u);
    EXPECT_EQ(info.tokenizer_digest, NumberTokenizer(vocabulary).digest());
    EXPECT_EQ(info.tokenizer_kind, "numbers");
    EXPECT_EQ(info.tokenizer_blob, std::string("a\0b", 3));
    EXPECT_EQ(file.token_digest(), digest_hex(file.tokens().bytes()));
    EXPECT_EQ(file.tokens().bytes().size(), tokens.size() * (vocabulary <= 65536 ? 2 : 4));
  }
}

TEST_F(TokenFileTest, HasTheDocumentedBytes) {
  write(path("x.tokens"), Tokens{1, 2, 258}, 300);
  const std::string bytes = read_file(path("x.tokens"));
  const auto u64 = [&](std::size_t at) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, 8);
    return value;
  };
  ASSERT_EQ(bytes.size(), 128u + 6 + 7 + 3);
  EXPECT_EQ(bytes.substr(0, 8), "CLLMTOK\n");
  EXPECT_EQ(u64(8), 1 | std::uint64_t{2} << 32);
  EXPECT_EQ(u64(16), 3u);
  EXPECT_EQ(u64(24), 300u);
  EXPECT_EQ(u64(32), 123456u);
  EXPECT_EQ(u64(40), 7u);
  EXPECT_EQ(u64(48), 3u);
  std::string head = bytes.substr(0, 128);
  head.replace(56, 8, 8, '\0');
  EXPECT_EQ(fmt::format("{:016x}", u64(56)), digest_hex(std::as_bytes(std::span(head))).substr(16));
  EXPECT_EQ(bytes.substr(64, 32), digest_hex(std::as_bytes(std::span(bytes).subspan(128, 6))));
  EXPECT_EQ(bytes.substr(96, 32), NumberTokenizer(300).digest());
  EXPECT_EQ(bytes.substr(128), std::string("\1\0\2\0\2\1numbersa\0b", 16));
}

TEST_F(TokenFileTest, SaysHowManyBytesOfTheTextAreLost) {
  write(path("x.tokens"), Tokens{1, 2, 3}, 10);
  EXPECT_FALSE(TokenFile::open(path("x.tokens")).info().lost_bytes.has_value());
  std::optional<std::uint64_t> lost;
  const auto produce = [&](const AppendTokens& append) {
    append(Tokens{1, 2, 3});
    lost = 258;
  };
  write_token_file(path("y.tokens"), NumberTokenizer(10), 1000, produce, lost);
  const TokenFile file = TokenFile::open(path("y.tokens"), TokenFile::Check::digests);
  EXPECT_EQ(file.info().lost_bytes, 258u);
  EXPECT_EQ(all_of(file.tokens()), (Tokens{1, 2, 3}));
  const std::string contents = read_file(path("y.tokens"));
  EXPECT_EQ(contents.size(), read_file(path("x.tokens")).size() + 8);
  EXPECT_EQ(contents.substr(contents.size() - 8), std::string("\2\1\0\0\0\0\0\0", 8));
  EXPECT_THAT(open_error(scratch_.write("cut.tokens", contents.substr(0, contents.size() - 1))),
              HasSubstr("cut short"));
  std::string other = contents;
  other.back() = '\1';
  EXPECT_THAT(open_error(scratch_.write("z.tokens", other), TokenFile::Check::digests),
              HasSubstr("header"));
}

TEST_F(TokenFileTest, CarriesDocumentsAndWhatCounts) {
  for (const std::uint32_t vocabulary : {300u, 70000u}) {
    const Tokens tokens = random_tokens(1001, vocabulary);
    TokenMarks marks;
    marks.documents = {0, 5, 900};
    marks.add(400, 800, true);
    marks.add(501, 100, false);
    marks.add(100, 50, true);
    for (const auto lost : {std::optional<std::uint64_t>(), std::optional<std::uint64_t>(7)}) {
      write_token_file(
          path("x.tokens"), NumberTokenizer(vocabulary), 950,
          [&](const AppendTokens& append) { append(tokens); }, lost, marks);
      const TokenFile file = TokenFile::open(path("x.tokens"), TokenFile::Check::digests);
      EXPECT_EQ(all_of(file.tokens()), tokens);
      EXPECT_EQ(file.info().lost_bytes, lost);
      EXPECT_EQ(file.info().tokenizer_blob, std::string("a\0b", 3));
      EXPECT_EQ(file.info().counted_bytes, 850u);
      EXPECT_THAT(file.document_starts(), testing::ElementsAre(0, 5, 900));
      EXPECT_TRUE(std::ranges::equal(file.counted(), marks.counted));
    }
    // Documents alone take no room for a mask, and one document takes none at all.
    marks.counted.clear();
    const auto size_with = [&](const TokenMarks& some) {
      write_token_file(
          path("x.tokens"), NumberTokenizer(vocabulary), 950,
          [&](const AppendTokens& append) { append(tokens); }, {}, some);
      return std::filesystem::file_size(path("x.tokens"));
    };
    const std::uintmax_t plain = size_with({});
    EXPECT_EQ(size_with(marks), (plain + 7) / 8 * 8 + 3 * 8 + 64);
    marks.documents = {0};
    EXPECT_EQ(size_with(marks), plain);
    EXPECT_TRUE(TokenFile::open(path("x.tokens")).document_starts().empty());
  }
}

TEST_F(TokenFileTest, RefusesDamagedMarks) {
  TokenMarks marks;
  marks.documents = {0, 5, 90};
  marks.add(40, 80, true);
  marks.add(60, 10, false);
  write_token_file(
      path("x.tokens"), NumberTokenizer(300), 950,
      [&](const AppendTokens& append) { append(random_tokens(100, 300)); }, {}, marks);
  const std::string whole = read_file(path("x.tokens"));
  const auto refused = [&](std::size_t from_end, std::uint64_t number,
                           TokenFile::Check check = TokenFile::Check::tokens) {
    std::string bytes = whole;
    std::memcpy(bytes.data() + bytes.size() - from_end, &number, sizeof(number));
    return open_error(scratch_.write("bad.tokens", bytes), check);
  };
  // The trailer's numbers, and then what they count: 3 documents and 2 words of a mask.
  for (const std::uint64_t number : {4ULL, 1ULL << 61, ~0ULL}) {
    EXPECT_THAT(refused(64 - 8, number), HasSubstr("length"));
    EXPECT_THAT(refused(64 - 16, number), HasSubstr("length"));
  }
  EXPECT_THAT(refused(64, 5, TokenFile::Check::header), HasSubstr("header"));
  EXPECT_THAT(refused(64 + 16 + 8, 100), HasSubstr("document 3 begins at token 100"));
  EXPECT_THAT(refused(64 + 16 + 8, 5), HasSubstr("document 3"));
  EXPECT_THAT(refused(64 + 16 + 8, 91), HasSubstr("digest"));
  EXPECT_THAT(refused(64 + 16, 0), HasSubstr("digest"));
  for (std::size_t size = 0; size < whole.size(); size += 3) {
    open_error(scratch_.write("bad.tokens", whole.substr(0, size)));
  }
}

TEST_F(TokenFileTest, ViewsCopyAndCut) {
  const Tokens tokens = random_tokens(1000, 70000);
  std::vector<std::uint16_t> narrow;
  for (const auto token : tokens) narrow.push_back(static_cast<std::uint16_t>(token));
  const TokenView wide_view{std::span<const std::uint32_t>(tokens)};
  const TokenView narrow_view{std::span<const std::uint16_t>(narrow)};
  for (const TokenView view : {wide_view, narrow_view}) {
    const TokenView part = view.subview(10, 500);
    EXPECT_EQ(part.size(), 500u);
    Tokens out(6, 99);
    part.copy(7, 5, out.data());
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(out[i], view[17 + i]);
    EXPECT_EQ(out[5], 99u);
  }
  EXPECT_EQ(wide_view[999], tokens[999]);
  EXPECT_EQ(narrow_view[999], tokens[999] & 0xFFFF);
  EXPECT_EQ(TokenView().size(), 0u);
}

TEST_F(TokenFileTest, RenamedViewsGiveOtherNumbers) {
  const Tokens tokens = random_tokens(9000, 50), rows = [] {
    Tokens result;
    for (std::uint32_t token = 0; token < 50; ++token) result.push_back((token * 7 + 3) % 50);
    return result;
  }();
  const TokenView plain{std::span<const std::uint32_t>(tokens)};
  const TokenView view = plain.renamed(rows);
  Tokens expected;
  for (const std::uint32_t token : tokens) expected.push_back(rows[token]);
  EXPECT_EQ(all_of(view), expected);
  EXPECT_EQ(view[4999], expected[4999]);
  const TokenView part = view.subview(100, 50).bounded(60);
  EXPECT_EQ(all_of(part), Tokens(expected.begin() + 100, expected.begin() + 150));
  // What is stored is what it was.
  EXPECT_EQ(view.bytes().data(), plain.bytes().data());
  EXPECT_EQ(view.largest(), plain.largest());
  EXPECT_EQ(all_of(plain.renamed({})), tokens);
  // A token that has no row.
  const TokenView few = plain.renamed(std::span(rows).first(49));
  const auto at = static_cast<std::size_t>(std::ranges::find(tokens, 49U) - tokens.begin());
  ASSERT_LT(at, tokens.size());
  EXPECT_THAT(error_of([&] { all_of(few); }), HasSubstr("has token 49 here, outside the"));
  EXPECT_THAT(error_of([&] { (void)few[at]; }), HasSubstr("has token 49 here, outside the"));
  few.require_below(50, "it");
}

TEST_F(TokenFileTest, MovesKeepTokensInPlace) {
  TokenFile memory = TokenFile::in_memory({3, 1, 2}, NumberTokenizer(4), 7);
  const TokenView view = memory.tokens();
  const TokenFile moved = std::move(memory);
  EXPECT_EQ(all_of(view), (Tokens{3, 1, 2}));
  EXPECT_EQ(all_of(moved.tokens()), (Tokens{3, 1, 2}));
  EXPECT_EQ(moved.info().source_bytes, 7u);
  EXPECT_THAT(error_of([] { TokenFile::in_memory({4}, NumberTokenizer(4), 7); }),
              HasSubstr("position 0"));
}

TEST_F(TokenFileTest, RefusesADamagedFile) {
  EXPECT_NO_THROW(TokenFile::open(altered(0, "CLLM"), TokenFile::Check::digests));
  EXPECT_THAT(open_error(altered(0, "XLLM")), HasSubstr("no token file"));
  EXPECT_THAT(open_error(altered(8, "\4")), HasSubstr("version 4"));
  EXPECT_THAT(open_error(altered(12, "\3")), HasSubstr("header"));
  EXPECT_THAT(open_error(altered(16, "\6")), HasSubstr("cut short"));
  EXPECT_THAT(open_error(altered(16, std::string(8, '\xFF'))), HasSubstr("cut short"));
  EXPECT_THAT(open_error(altered(16, std::string("\0\0\0\0\0\0\0\x80", 8))),
              HasSubstr("cut short"));
  EXPECT_THAT(open_error(altered(40, std::string(8, '\xFF'))), HasSubstr("cut short"));
  EXPECT_THAT(open_error(altered(48, "\4")), HasSubstr("cut short"));
  EXPECT_THAT(open_error(altered(24, std::string(1, '\0'))), HasSubstr("vocabulary 0"));
  EXPECT_THAT(open_error(altered(24, "\4")), HasSubstr("token 4 at position 3"));
  EXPECT_THAT(open_error(altered(128 + 2, "\xF0")), HasSubstr("token 240 at position 1"));
}

TEST_F(TokenFileTest, FindsAnyFlippedBitWhenAskedToVerify) {
  // Within the vocabulary, so that only the digest can tell.
  const std::string tokens = altered(128, "\7"), kind = altered(128 + 10, "N");
  EXPECT_NO_THROW(TokenFile::open(kind));
  EXPECT_THAT(open_error(kind, TokenFile::Check::digests), HasSubstr("tokenizer"));
  const std::string again = altered(128, "\7");
  EXPECT_NO_THROW(TokenFile::open(again));
  EXPECT_THAT(open_error(again, TokenFile::Check::digests), HasSubstr("tokens do not have"));
}

TEST_F(TokenFileTest, TheHeaderHasADigestToo) {
  for (const std::size_t at : {24u, 32u, 56u}) {  // vocabulary, source bytes, digest
    EXPECT_THAT(open_error(altered(at, "\x7F"), TokenFile::Check::digests), HasSubstr("header"));
  }
  // Older files have none.
  EXPECT_NO_THROW(TokenFile::open(altered(56, std::string(8, '\0')), TokenFile::Check::digests));
}

TEST_F(TokenFileTest, RefusesEveryTruncation) {
  write(path("x.tokens"), Tokens{1, 2, 3, 4, 5}, 10);
  const std::string contents = read_file(path("x.tokens"));
  for (std::size_t length = 8; length < contents.size(); ++length) {
    EXPECT_THAT(open_error(scratch_.write("cut.tokens", contents.substr(0, length))),
                HasSubstr("cut short"));
  }
  open_error(scratch_.write("long.tokens", contents + "x"));
}

TEST_F(TokenFileTest, ALastTokenOutOfRangeIsFound) {
  std::vector<std::uint16_t> tokens(100'001, 50256);
  EXPECT_NO_THROW(TokenFile::open(scratch_.write("x.bin", raw(tokens))));
  tokens.back() = 50257;
  EXPECT_THAT(open_error(scratch_.write("x.bin", raw(tokens))),
              HasSubstr("token 50257 at position 100000"));
}

TEST_F(TokenFileTest, AFailedWriteLeavesNothing) {
  EXPECT_THROW(write(path("x.tokens"), Tokens{1, 2, 10}, 10), Error);
  EXPECT_TRUE(std::filesystem::is_empty(scratch_.path()));
  EXPECT_THAT(error_of([&] { write(path("no/dir/x.tokens"), Tokens{1}, 10); }),
              HasSubstr("no/dir"));
  write(path("empty.tokens"), {}, 10);
  EXPECT_THAT(open_error(path("empty.tokens")), HasSubstr("no tokens"));
}

TEST_F(TokenFileTest, ReadsNanoGptFiles) {
  const std::vector<std::uint16_t> tokens = {0, 64, 50256};
  const TokenFile file = TokenFile::open(scratch_.write("train.bin", raw(tokens)));
  EXPECT_EQ(all_of(file.tokens()), (Tokens{0, 64, 50256}));
  EXPECT_EQ(file.info().format, "nanoGPT");
  EXPECT_EQ(file.info().vocabulary, 50257u);
  EXPECT_EQ(file.token_digest(), digest_hex(std::as_bytes(std::span(tokens))));
  EXPECT_THAT(open_error(scratch_.write("odd.bin", raw(tokens) + "x")), HasSubstr("odd"));
  EXPECT_THAT(open_error(scratch_.write("empty.bin", "")), HasSubstr("no tokens"));
}

TEST_F(TokenFileTest, ReadsNanoGptVocabularyFromMeta) {
  // What Python's pickle writes for {'vocab_size': N, 'itos': {}} in protocols 4 (its default)
  // and 2, with N in one, two and four bytes.
  using namespace std::string_literals;
  const std::pair<std::string, std::uint64_t> pickles[] = {
      {"\x80\x04\x95\x1c\0\0\0\0\0\0\0}\x94(\x8c\nvocab_size\x94KA\x8c\x04itos\x94}\x94u."s, 65},
      {"\x80\x04\x95\x1d\0\0\0\0\0\0\0}\x94(\x8c\nvocab_size\x94M,\x01\x8c\x04itos\x94}\x94u."s,
       300},
      {"\x80\x02}q\0(X\n\0\0\0vocab_sizeq\1J\0\0\1\0X\4\0\0\0itosq\2}q\3u."s, 65536}};
  for (const auto& [pickle, vocabulary] : pickles) {
    scratch_.write("meta.pkl", pickle);
    const auto data = scratch_.write("val.bin", raw(std::vector<std::uint16_t>{0, 64}));
    EXPECT_EQ(TokenFile::open(data).info().vocabulary, vocabulary);
  }
  scratch_.write("meta.pkl", pickles[0].first);
  EXPECT_THAT(open_error(scratch_.write("val.bin", raw(std::vector<std::uint16_t>{0, 65}))),
              HasSubstr("token 65 at position 1"));
  scratch_.write("meta.pkl", "rubbish");
  EXPECT_THAT(open_error(path("val.bin")), HasSubstr("meta.pkl"));
}

TEST_F(TokenFileTest, RefusesWhatIsNotNanoGpts) {
  const auto file = [&](const std::string& contents) { return scratch_.write("x.bin", contents); };
  std::string text;
  while (text.size() < 2000) text += "It was a dark and stormy night;\n";
  EXPECT_THAT(open_error(file(text)), HasSubstr("is text"));
  std::string greek;
  while (greek.size() < 2000) greek += "Ελλάδα ";
  EXPECT_THAT(open_error(file(greek)), HasSubstr("is text"));

  const Tokens small = random_tokens(1000, 65), large = random_tokens(1000, 50257),
               huge = random_tokens(1000, 150'000);
  for (const Tokens& tokens : {small, large, huge}) {
    EXPECT_THAT(open_error(file(raw(tokens))), HasSubstr("integers of 32 bits"));
    const std::vector<std::int64_t> wide(tokens.begin(), tokens.end());
    EXPECT_THAT(open_error(file(raw(wide))), HasSubstr("integers of 64 bits"));
  }
  const std::vector<std::uint8_t> bytes(small.begin(), small.end());
  EXPECT_THAT(open_error(file(raw(bytes))), HasSubstr("integers of 8 bits"));
  std::string big_endian;
  for (const std::uint8_t byte : bytes) big_endian += std::string{'\0', static_cast<char>(byte)};
  EXPECT_THAT(open_error(file(big_endian)), HasSubstr("big-endian"));
  EXPECT_THAT(open_error(file("\x93NUMPY" + text)), HasSubstr("numpy"));
  EXPECT_THAT(open_error(file("PK\x03\x04" + text)), HasSubstr("zip"));

  // And not what is: few symbols, many, and one over and over.
  for (const std::uint32_t vocabulary : {2u, 5u, 65u, 300u, 5000u, 50257u}) {
    const Tokens tokens = random_tokens(1000, vocabulary);
    const std::vector<std::uint16_t> narrow(tokens.begin(), tokens.end());
    const TokenFile good = TokenFile::open(file(raw(narrow)));
    EXPECT_EQ(all_of(good.tokens()), tokens);
    EXPECT_THAT(format_text(good.info()),
                testing::AllOf(HasSubstr("nanoGPT"), HasSubstr("50257 (GPT-2's)")));
  }
  EXPECT_NO_THROW(TokenFile::open(file(std::string(2000, '\1'))));
  EXPECT_NO_THROW(TokenFile::open(file(std::string(2000, '\0'))));
}

TEST_F(TokenFileTest, ReadsLlmcShards) {
  const auto shard = [&](std::int32_t magic, std::int32_t version, std::int32_t count,
                         const std::string& tokens) {
    std::vector<std::int32_t> header(256);
    header[0] = magic, header[1] = version, header[2] = count;
    return scratch_.write("shard.bin", raw(header) + tokens);
  };
  const std::string two = raw(std::vector<std::uint16_t>{0, 1, 50256});
  const std::string four = raw(std::vector<std::uint32_t>{0, 1, 128255});

  const TokenFile gpt2 = TokenFile::open(shard(20240520, 1, 3, two));
  EXPECT_EQ(all_of(gpt2.tokens()), (Tokens{0, 1, 50256}));
  EXPECT_EQ(gpt2.info().vocabulary, 50257u);
  EXPECT_EQ(gpt2.info().format, "llm.c");
  const TokenFile llama = TokenFile::open(shard(20240801, 7, 3, four));
  EXPECT_EQ(all_of(llama.tokens()), (Tokens{0, 1, 128255}));
  EXPECT_EQ(llama.info().vocabulary, 128256u);

  EXPECT_THAT(open_error(shard(20240520, 2, 3, two)), HasSubstr("version 2"));
  EXPECT_THAT(open_error(shard(20240520, 1, 4, two)), HasSubstr("cut short"));
  EXPECT_THAT(open_error(shard(20240520, 1, -3, two)), HasSubstr("-3"));
  EXPECT_THAT(open_error(shard(20240520, 1, 0, "")), HasSubstr("no tokens"));
  EXPECT_THAT(open_error(shard(20240522, 1, 3, two)), HasSubstr("multiple-choice"));
  EXPECT_THAT(open_error(shard(20240520, 1, 1, "\xFF\xFF")), HasSubstr("token 65535"));
  EXPECT_THAT(open_error(scratch_.write("short.bin", raw(std::vector<std::int32_t>{20240520, 1}))),
              HasSubstr("cut short"));
}

TEST_F(TokenFileTest, IsRecognised) {
  write(path("ours"), Tokens{1, 2}, 10);
  EXPECT_TRUE(is_token_file(path("ours")));
  EXPECT_TRUE(is_token_file(scratch_.write("x.bin", "ab")));
  EXPECT_TRUE(is_token_file(scratch_.write("y", raw(std::vector<std::int32_t>{20240801, 7}))));
  EXPECT_FALSE(is_token_file(scratch_.write("x.txt", "CLLMTOK")));
  EXPECT_FALSE(is_token_file(scratch_.write("empty.txt", "")));
  EXPECT_THAT(error_of([&] { is_token_file(path("absent")); }), HasSubstr("absent"));
  EXPECT_THAT(open_error(scratch_.write("x.txt", "text")), HasSubstr("no token file"));
}

}  // namespace
}  // namespace cllm::data
