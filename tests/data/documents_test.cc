#include <gmock/gmock.h>
#include <zlib.h>
#include <zstd.h>

#include <nlohmann/json.hpp>

#include "cllm/base/file.h"
#include "cllm/base/random.h"
#include "cllm/data/dataset.h"
#include "support/environment.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;
using support::error_of;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Tokens = std::vector<std::uint32_t>;
using Strings = std::vector<std::string>;

Tokens tokens_of(const DataPart& part) {
  Tokens tokens(part.tokens.size());
  part.tokens.copy(0, tokens.size(), tokens.data());
  return tokens;
}

/// What documents are to be: each by itself, and the token behind it. `marks`: the names of special
/// tokens in them are meant.
Tokens expected(const Tokenizer& tokenizer, const Strings& documents, bool marks = false) {
  Tokens all;
  for (const std::string& document : documents) {
    const Tokens one = marks ? tokenizer.encode_with_specials(document).tokens
                             : tokenizer.encode_counting(document).tokens;
    all.insert(all.end(), one.begin(), one.end());
    all.push_back(tokenizer.end_of_text().value());
  }
  return all;
}

std::string words(RandomStream& random, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::uint64_t left = 1 + random.below(5); left > 0; --left) {
      text += static_cast<char>('a' + random.below(26));
    }
    text += random.below(9) == 0 ? '\n' : ' ';
  }
  return text;
}

class Documents : public testing::Test {
 protected:
  static const Tokenizer& trained(SpecialTokens specials) {
    static std::map<SpecialTokens, std::unique_ptr<Tokenizer>> made;
    auto& slot = made[specials];
    RandomStream random(3, 0);
    if (!slot)
      slot = build_tokenizer(parse_tokenizer_spec("bpe:320", specials), words(random, 4000));
    return *slot;
  }
  DataPart read(const std::string& path, const Tokenizer& tokenizer,
                const TextReading& reading = {}) const {
    return load_part(path, &tokenizer, tokenizer.vocabulary(), 2, reading);
  }
  std::string read_bytes(const std::string& path, const TextReading& reading = {}) const {
    return bytes_->decode(tokens_of(read(path, *bytes_, reading)));
  }
  DataOptions options(const std::string& data, std::shared_ptr<const Tokenizer> known) const {
    DataOptions result;
    result.data = data;
    result.cache = scratch_.path() / "cache";
    result.known_tokenizer = std::move(known);
    return result;
  }
  Dataset prepare(const DataOptions& given) const { return open_dataset(prepare_data(given)); }
  std::string directory() const { return (scratch_.path() / "d").string(); }

  support::ScratchDirectory scratch_;
  std::shared_ptr<const Tokenizer> bytes_ = make_tokenizer("bytes", "");
  const Tokenizer& bpe_ = trained(SpecialTokens::kEndOfText);
  const Tokenizer& chat_ = trained(SpecialTokens::kChatMl);
  /// Without an owner: the test's tokenizers live on.
  std::shared_ptr<const Tokenizer> known_{&bpe_, [](const Tokenizer*) {}};
};

TEST_F(Documents, AFileIsOne) {
  const std::string file = scratch_.write("a.txt", "one\ntwo");
  const DataPart part = read(file, bpe_);
  EXPECT_EQ(tokens_of(part), expected(bpe_, {"one\ntwo"}));
  EXPECT_NE(tokens_of(part), expected(bpe_, {"one\n", "two"}));
  EXPECT_EQ(part.source_bytes, 7u);
  EXPECT_EQ(read_bytes(file), "one\ntwo");
}

TEST_F(Documents, FilesOfADirectoryEndWithTheTokenOrANewline) {
  scratch_.write("d/a.txt", "\xEF\xBB\xBFone");
  scratch_.write("d/b.txt", "two\n");
  scratch_.write("d/c.txt", "");
  scratch_.write("d/d.txt", "three");
  const DataPart part = read(directory(), bpe_);
  EXPECT_EQ(tokens_of(part), expected(bpe_, {"one", "two\n", "three"}));
  EXPECT_EQ(part.source_bytes, 12u);  // no newline is added where the token stands
  EXPECT_THAT(part.format, HasSubstr("4 texts of a directory, 3 documents"));
  EXPECT_EQ(read_bytes(directory()), "one\ntwo\nthree");
}

TEST_F(Documents, StandBetweenSeparators) {
  const TextReading reading{.separator = "<|endoftext|>"};
  const std::string file =
      scratch_.write("a.txt", "<|endoftext|>one<|endoftext|>\ntwo<|endoftext|><|endoftext|>3");
  const DataPart part = read(file, bpe_, reading);
  EXPECT_EQ(tokens_of(part), expected(bpe_, {"one", "\ntwo", "3"}));
  EXPECT_EQ(part.format, "text, 3 documents");
  EXPECT_EQ(read_bytes(file, reading), "one\n\ntwo\n3");
  EXPECT_THAT(tokens_of(read(file, bpe_)), testing::Contains(*bpe_.end_of_text()).Times(1));
  const std::string only = scratch_.write("b.txt", "<|endoftext|><|endoftext|>");
  EXPECT_THAT(error_of([&] { read(only, bpe_, reading); }), HasSubstr("b.txt is empty"));
}

TEST_F(Documents, JsonLinesAreRead) {
  const std::string lines =
      "\xEF\xBB\xBF{\"text\": \"one \\u00e9\\n\\\"two\\\" \\ud83d\\ude00\", \"id\": [1, {\"a\": "
      "null}]}\r\n"
      "\n  \t\r\n"
      "{\"text\": \"\"}\n"
      "{\"id\": 7, \"prompt\": \"How? \", \"completion\": \"So.\"}\n"
      "{\"text\":\"<|endoftext|>\"}";
  const Strings documents = {"one \u00E9\n\"two\" \U0001F600", "How? So.", "<|endoftext|>"};
  // A prompt and its completion are encoded apart.
  Tokens wanted = expected(bpe_, {documents[0]});
  const auto add = [&](const Tokens& more) {
    wanted.insert(wanted.end(), more.begin(), more.end());
  };
  add(bpe_.encode("How? "));
  add(expected(bpe_, {"So.", documents[2]}));
  const std::string file = scratch_.write("a.jsonl", lines);
  EXPECT_EQ(tokens_of(read(file, bpe_, {.rules = TextRules::kThird})), expected(bpe_, documents));
  const DataPart part = read(file, bpe_);
  EXPECT_EQ(tokens_of(part), wanted);
  EXPECT_EQ(part.format, "JSON lines, 3 documents");
  EXPECT_EQ(part.source_bytes, documents[0].size() + documents[1].size() + documents[2].size());
  EXPECT_EQ(read_bytes(file), documents[0] + "\n" + documents[1] + "\n" + documents[2]);
  EXPECT_EQ(read_bytes(file, {.binary = true}), read_bytes(file));

  // Packed, and among others, of which separators are the matter of plain text alone.
  const std::string packed = (scratch_.path() / "d/1.jsonl.gz").string();
  std::filesystem::create_directories(directory());
  const gzFile out = gzopen(packed.c_str(), "wb");
  EXPECT_EQ(gzwrite(out, lines.data(), static_cast<unsigned>(lines.size())),
            static_cast<int>(lines.size()));
  EXPECT_EQ(gzclose(out), Z_OK);
  std::string zstd(ZSTD_compressBound(lines.size()), '\0');
  zstd.resize(ZSTD_compress(zstd.data(), zstd.size(), lines.data(), lines.size(), 3));
  scratch_.write("d/2.jsonl.zst", zstd);
  scratch_.write("d/3.txt", "a<|endoftext|>b");
  Tokens all = wanted;
  all.insert(all.end(), wanted.begin(), wanted.end());
  for (const std::uint32_t token : expected(bpe_, {"a", "b"})) all.push_back(token);
  EXPECT_EQ(tokens_of(read(directory(), bpe_, {.separator = "<|endoftext|>"})), all);
  EXPECT_EQ(tokens_of(read(packed, bpe_, {.binary = true})), wanted);
}

TEST_F(Documents, ConversationsAreChatMl) {
  const std::string file =
      scratch_.write("a.jsonl",
                     "{\"text\": \"plain\"}\n"
                     "{\"messages\": [{\"role\": \"system\", \"content\": \"\"}, {\"role\": "
                     "\"user\", \"content\": "
                     "\"Hi <|im_end|>\\n\"}, {\"content\": \"Hello\", \"role\": \"assistant\", "
                     "\"tool_calls\": []}]}\n"
                     "{\"messages\": [{\"role\": \"user\", \"content\": \"Again\"}]}\n");
  const DataPart part = read(file, chat_);
  // A text that spells a marker is no marker: in the reference it stands for itself.
  Tokens wanted = expected(chat_, {"plain"});
  const auto add = [&](const Tokens& more) {
    wanted.insert(wanted.end(), more.begin(), more.end());
  };
  add(chat_.encode_with_specials("<|im_start|>system\n<|im_end|>\n<|im_start|>").tokens);
  add(chat_.encode("user\nHi <|im_end|>\n"));
  add(expected(chat_,
               {"<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
                "<|im_start|>user\nAgain<|im_end|>\n"},
               true));
  EXPECT_EQ(tokens_of(part), wanted);
  for (const char* name : {"<|im_start|>", "<|im_end|>"}) {
    EXPECT_THAT(tokens_of(part), testing::Contains(chat_.specials().at(name)).Times(4)) << name;
  }

  const auto lacks = AllOf(HasSubstr("a.jsonl, line 2"), HasSubstr("--special-tokens chatml"));
  EXPECT_THAT(error_of([&] { read(file, bpe_); }), lacks);
  EXPECT_THAT(error_of([&] { read(file, *bytes_); }), lacks);
  DataOptions given = options(file, nullptr);
  EXPECT_THAT(error_of([&] { prepare(given); }), lacks);
  given.tokenizer = parse_tokenizer_spec("bpe:320");
  EXPECT_THAT(error_of([&] { prepare(given); }), lacks);
  EXPECT_THAT(error_of([&] { tokenize_data(given, scratch_.path() / "a.tokens"); }), lacks);
  given.data = scratch_.write("plain.txt", std::string(100, 'x'));
  given.known_tokenizer = known_;
  given.validation = file;
  EXPECT_THAT(error_of([&] { prepare(given); }), lacks);
}

TEST_F(Documents, ABadLineIsNamedInOneSentence) {
  struct Bad {
    std::string line, message;
  };
  const std::string deep(100'000, '[');
  for (const Bad& bad : std::vector<Bad>{
           {"{\"text\": \"a\"", "no JSON"},
           {"{\"text\": \"a\"} x", "no JSON"},
           {"plain text", "no JSON"},
           {"{\"text\": \"" + std::string(1'000'000, 'a'), "no JSON"},
           {"{\"text\": \"\xFF\"}", "no JSON"},
           {"{\"text\": \"\\ud800\"}", "no JSON"},
           {"{\"text\": \"a\", \"n\": 1e999}", "out of range"},
           {"{\"text\": \"a\", \"text\": \"b\"}", "twice"},
           {"{\"text\": \"a\", \"deep\": " + deep, "nested"},
           {"{\"text\": 5}", "of the type number"},
           {"{\"text\": null}", "of the type null"},
           {"{\"text\": \"a\\u0000\"}", "NUL"},
           {"[\"text\"]", "no object"},
           {"5", "no object"},
           {"{\"Text\": \"a\"}", "no object"},
           {"{\"prompt\": \"a\"}", "no object"},
           {"{\"prompt\": \"a\", \"completion\": [\"b\"]}", "`completion` is of the type array"},
           {"{\"messages\": []}", "`messages`"},
           {"{\"messages\": \"a\"}", "`messages`"},
           {"{\"messages\": [5]}", "a message is of the type number"},
           {"{\"messages\": [{\"role\": \"user\"}]}", "no `content`"},
           {"{\"messages\": [{\"content\": \"a\"}]}", "no `role`"},
           {"{\"messages\": [{\"role\": \"user\\n\", \"content\": \"a\"}]}", "role"},
           {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"text\": \"a\"}]}]}",
            "`content` is of the type array"},
           {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [1]}]}",
            "`tool_calls`"}}) {
    const std::string file = scratch_.write("a.jsonl", "{\"text\": \"good\"}\n" + bad.line + "\n");
    const std::string error = error_of([&] { read(file, chat_); });
    EXPECT_THAT(error,
                AllOf(HasSubstr(file + ", line 2"), HasSubstr(bad.message), Not(HasSubstr("\n"))));
    EXPECT_LT(error.size(), 400u);
  }
  EXPECT_THAT(error_of([&] { read(scratch_.write("e.jsonl", "\n{\"text\": \"\"}\n"), bpe_); }),
              HasSubstr("e.jsonl is empty"));
}

TEST_F(Documents, SpoiledLinesAreReadOrRefused) {
  const std::string good =
      "{\"text\": \"one \\u00e9 two\", \"n\": [1, 2.5e3, {\"a\": null}]}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n"
      "{\"prompt\": \"How? \", \"completion\": \"So.\"}\n";
  const std::uint64_t count = support::count_from_environment("CLLM_FUZZ", 500);
  std::uint64_t refused = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    RandomStream random(20261130, i);
    std::string spoiled = good;
    for (std::uint64_t left = 1 + random.below(3); left > 0; --left) {
      spoiled[random.below(good.size())] = random.below(2) == 0
                                               ? good[random.below(good.size())]
                                               : static_cast<char>(random.below(256));
    }
    const std::string file = scratch_.write("a.jsonl", spoiled);
    try {
      read(file, chat_);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(file));
      ++refused;
    }
  }
  EXPECT_GT(refused, count / 4);
  EXPECT_LT(refused, count);
}

TEST_F(Documents, AreCutBetweenTrainingAndValidation) {
  std::string lines;
  Strings documents;
  RandomStream random(1, 0);
  for (int i = 0; i < 200; ++i) {
    documents.push_back(words(random, 10) + "\nend");
    lines += Json{{"text", documents.back()}}.dump() + "\n";
  }
  const Dataset dataset = prepare(options(scratch_.write("a.jsonl", lines), known_));
  const Tokens train = tokens_of(dataset.train), validation = tokens_of(dataset.validation);
  EXPECT_EQ(train.back(), *bpe_.end_of_text());
  EXPECT_EQ(validation.back(), *bpe_.end_of_text());
  Tokens both = train;
  both.insert(both.end(), validation.begin(), validation.end());
  EXPECT_EQ(both, expected(bpe_, documents));
  EXPECT_NEAR(static_cast<double>(dataset.train.source_bytes) /
                  static_cast<double>(dataset.train.source_bytes + dataset.validation.source_bytes),
              0.9, 0.025);
  // All of them as one token file.
  const std::string out = (scratch_.path() / "a.tokens").string();
  tokenize_data(options((scratch_.path() / "a.jsonl").string(), known_), out);
  EXPECT_EQ(tokens_of(read(out, bpe_)), both);

  // One long document is cut at a line, and the end belongs to the validation part.
  const std::string book = words(random, 2000);
  const Dataset cut = prepare(options(scratch_.write("b.txt", book), known_));
  EXPECT_THAT(tokens_of(cut.train), Not(testing::Contains(*bpe_.end_of_text())));
  EXPECT_EQ(tokens_of(cut.validation).back(), *bpe_.end_of_text());
  EXPECT_EQ(bpe_.decode(tokens_of(cut.train)) + bpe_.decode(tokens_of(cut.validation)), book);
}

TEST_F(Documents, ConversationsAreCutBetweenThem) {
  std::string lines;
  Strings documents;
  for (int i = 0; i < 100; ++i) {
    const std::string number = std::to_string(i);
    lines += "{\"messages\": [{\"role\": \"user\", \"content\": \"" + number + "?\"}]}\n";
    documents.push_back("<|im_start|>user\n" + number + "?<|im_end|>\n");
  }
  const std::shared_ptr<const Tokenizer> known(&chat_, [](const Tokenizer*) {});
  const Dataset dataset = prepare(options(scratch_.write("a.jsonl", lines), known));
  const Tokens train = tokens_of(dataset.train), validation = tokens_of(dataset.validation);
  EXPECT_EQ(train.back(), *chat_.end_of_text());
  EXPECT_EQ(validation.front(), chat_.specials().at("<|im_start|>"));
  Tokens both = train;
  both.insert(both.end(), validation.begin(), validation.end());
  EXPECT_EQ(both, expected(chat_, documents, true));
}

TEST_F(Documents, TheCacheKeepsThemApart) {
  RandomStream random(2, 0);
  const std::string one = words(random, 200) + "\n", two = words(random, 200) + "\n";
  scratch_.write("d/a.txt", one);
  scratch_.write("d/b.txt", two);
  scratch_.write("v.txt", "validation");
  const auto train = [&](const std::string& data, TextRules rules) {
    DataOptions given = options(data, known_);
    given.validation = (scratch_.path() / "v.txt").string();
    given.text_rules = rules;
    return tokens_of(prepare(given).train);
  };
  // The same bytes, as a document, as two, and by the rules of old.
  const std::string whole = scratch_.write("whole.txt", one + two);
  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(train(directory(), TextRules::kSecond), bpe_.encode(one + two));
    EXPECT_EQ(train(directory(), TextRules::kThird), expected(bpe_, {one, two}));
    EXPECT_EQ(train(whole, TextRules::kThird), expected(bpe_, {one + two}));
  }
  EXPECT_NE(expected(bpe_, {one, two}), expected(bpe_, {one + two}));
}

TEST_F(Documents, OldRunsReadWhatTheyDid) {
  const TextReading second{.rules = TextRules::kSecond};
  const std::string lines = "{\"text\": \"a\"}\nno JSON\n";
  const std::string file = scratch_.write("d/a.jsonl", lines);
  scratch_.write("d/b.txt", "b");
  EXPECT_EQ(tokens_of(read(file, bpe_, second)), bpe_.encode(lines));
  EXPECT_EQ(tokens_of(read(directory(), bpe_, second)), bpe_.encode(lines + "b"));
  TextReading separated = second;
  separated.separator = "x";
  EXPECT_THAT(error_of([&] { read(file, bpe_, separated); }), HasSubstr("--document-separator"));
}

TEST_F(Documents, ASeparatorNeedsText) {
  DataOptions given = options("builtin", nullptr);
  given.document_separator = "x";
  EXPECT_THAT(error_of([&] { prepare(given); }), HasSubstr("--document-separator: builtin"));
  given.data = scratch_.write("a.bin", std::string(100, '\1'));
  EXPECT_THAT(error_of([&] { prepare(given); }), HasSubstr("--document-separator"));
}

TEST_F(Documents, EncodeTheSameInAnyNumberOfThreads) {
  RandomStream random(4, 0);
  std::string lines;
  Strings documents;
  std::size_t size = 0;
  while (size < (std::size_t{5} << 19)) {  // over two blocks of 1 MiB
    // Short ones, and now and then one of more than a chunk, and once of more than a block.
    const std::uint64_t kind = random.below(200);
    documents.push_back(words(random, kind == 0 ? 6000 : 1 + random.below(40)));
    if (documents.size() == 100) documents.back() = std::string(std::size_t{9} << 17, 'x');
    size += documents.back().size();
    lines += Json{{"text", documents.back()}}.dump() + "\n";
  }
  const std::string file = scratch_.write("a.jsonl", lines);
  const Tokens wanted = expected(bpe_, documents);
  for (const int threads : {1, 3}) {
    const DataPart part = load_part(file, &bpe_, bpe_.vocabulary(), threads);
    EXPECT_EQ(tokens_of(part), wanted) << threads << " threads";
    EXPECT_EQ(part.source_bytes, size);
  }
}

}  // namespace
}  // namespace cllm::data
