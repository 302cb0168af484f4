// Prompts, completions and conversations: which tokens count, and where documents begin.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "cllm/base/random.h"
#include "cllm/data/dataset.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;
using Tokens = std::vector<std::uint32_t>;

/// Tokens, each with whether it counts, put together by hand.
struct Wanted {
  Tokens tokens;
  std::vector<bool> counts;
  std::vector<std::uint64_t> documents;
  std::uint64_t bytes = 0;  // of text that counts

  void begin() { documents.push_back(tokens.size()); }
  void add(const Tokenizer& tokenizer, const std::string& text, bool is_learned) {
    for (const std::uint32_t token : tokenizer.encode(text)) add(token, is_learned);
    if (is_learned) bytes += text.size();
  }
  void add(std::uint32_t token, bool is_learned) {
    tokens.push_back(token);
    counts.push_back(is_learned);
  }
};

class CompletionsTest : public testing::Test {
 protected:
  CompletionsTest() {
    RandomStream random(3, 0);
    std::string text;
    for (int i = 0; i < 9000; ++i) text += static_cast<char>("abcdefgh \n?.:"[random.below(13)]);
    for (const auto specials : {SpecialTokens::kEndOfText, SpecialTokens::kChatMl}) {
      made_.push_back(
          build_tokenizer(parse_tokenizer_spec("bpe:340", specials), text + "userassistantsystem"));
    }
  }

  const Tokenizer& bpe() const { return *made_[0]; }
  const Tokenizer& chat() const { return *made_[1]; }
  const Tokenizer& bytes() const { return *bytes_; }

  void add_completion(const std::string& prompt, const std::string& completion) {
    lines_ += Json{{"prompt", prompt}, {"completion", completion}}.dump() + "\n";
    for (std::size_t i = 0; i < 2; ++i) {
      const Tokenizer& tokenizer = i == 0 ? bpe() : bytes();
      Wanted& wanted = i == 0 ? wanted_ : wanted_bytes_;
      // Where there is no token behind documents, they begin on lines of their own.
      const bool needs_newline = i == 1 && !wanted.tokens.empty() && wanted.tokens.back() != '\n';
      if (needs_newline) wanted.add(tokenizer, "\n", wanted.counts.back());
      wanted.begin();
      wanted.add(tokenizer, prompt, false);
      wanted.add(tokenizer, completion, true);
      if (i == 0) wanted.add(*tokenizer.end_of_text(), true);
    }
  }
  void add_text(const std::string& text) {
    lines_ += Json{{"text", text}}.dump() + "\n";
    wanted_.begin();
    wanted_.add(bpe(), text, true);
    wanted_.add(*bpe().end_of_text(), true);
  }

  static void expect(const DataPart& part, const Wanted& wanted) {
    Tokens tokens(part.tokens.size());
    part.tokens.copy(0, tokens.size(), tokens.data());
    ASSERT_EQ(tokens, wanted.tokens);
    std::uint64_t counted = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(part.mask()[i], wanted.counts[i]) << i;
      counted += wanted.counts[i] ? 1 : 0;
    }
    EXPECT_EQ(part.counted, counted);
    EXPECT_EQ(part.counted_bytes, wanted.bytes);
    const Documents documents = part.documents();
    ASSERT_EQ(documents.size(), wanted.documents.size());
    for (std::size_t i = 0; i < wanted.documents.size(); ++i) {
      EXPECT_EQ(documents.start(i), wanted.documents[i]);
    }
  }
  DataPart read(const std::string& path, const Tokenizer& tokenizer,
                const TextReading& reading = {}) const {
    return load_part(path, &tokenizer, tokenizer.vocabulary(), 2, reading);
  }

  support::ScratchDirectory scratch_;
  std::vector<std::shared_ptr<const Tokenizer>> made_;
  std::shared_ptr<const Tokenizer> bytes_ = make_tokenizer("bytes", "");
  std::string lines_;
  Wanted wanted_, wanted_bytes_;
};

TEST_F(CompletionsTest, OnlyCompletionsAndTheEndBehindThemCount) {
  add_completion("abc? ", "def.");
  add_completion("", "gh");
  add_completion("a\n", "");
  add_completion("long: " + std::string(500, 'b'), std::string(300, 'c') + "\n");
  add_completion("ab", "cd");
  const std::string file = scratch_.write("a.jsonl", lines_);
  expect(read(file, bpe()), wanted_);
  expect(read(file, bytes(), {.binary = true}), wanted_bytes_);
  // By the rules of before nothing is known of prompts.
  const DataPart old = read(file, bpe(), {.rules = TextRules::kThird});
  EXPECT_TRUE(old.mask().empty());
  EXPECT_EQ(old.documents().size(), 5u);
}

TEST_F(CompletionsTest, PlainDocumentsAmongThemCountWholly) {
  add_text("abcdefgh");
  add_completion("abc? ", "def.");
  add_text("ab\ncd");
  expect(read(scratch_.write("a.jsonl", lines_), bpe()), wanted_);
}

TEST_F(CompletionsTest, OfConversationsAssistantsTurnsCount) {
  const std::uint32_t start = chat().specials().at("<|im_start|>");
  const std::uint32_t end = chat().specials().at("<|im_end|>");
  std::string lines;
  Wanted wanted;
  for (int i = 0; i < 4; ++i) {
    Json messages = Json::array();
    wanted.begin();
    const auto add = [&](const std::string& role, const std::string& content) {
      messages.push_back({{"role", role}, {"content", content}});
      const bool is_learned = role == "assistant";
      wanted.add(start, false);
      if (is_learned) {
        wanted.add(chat(), role + "\n", false);
        wanted.add(chat(), content, true);
      } else {
        wanted.add(chat(), role + "\n" + content, false);
      }
      wanted.add(end, is_learned);
      wanted.add(chat(), "\n", false);
    };
    if (i % 2 == 0) add("system", "abc");
    add("user", "a?");
    add("assistant", "bcd\n");
    add("user", "def");
    if (i != 3) add("assistant", "");
    wanted.add(*chat().end_of_text(), false);
    lines += Json{{"messages", messages}}.dump() + "\n";
  }
  const DataPart part = read(scratch_.write("a.jsonl", lines), chat());
  expect(part, wanted);
  EXPECT_DOUBLE_EQ(*part.bytes_per_counted_token(),
                   static_cast<double>(wanted.bytes) / static_cast<double>(part.counted));
}

// Where a document is cut, what validates begins in the middle of it, and is learned or not as
// there.
TEST_F(CompletionsTest, AreKnownBehindACutWithinADocument) {
  std::string much, little;
  for (int i = 0; i < 400; ++i) much += "abc def\n";
  for (int i = 0; i < 4; ++i) little += "gh\n";
  const auto prepared = [&](const std::string& prompt, const std::string& completion) {
    DataOptions options;
    options.data = scratch_.write(
        "a.jsonl", Json{{"prompt", prompt}, {"completion", completion}}.dump() + "\n");
    options.cache = scratch_.path() / "cache";
    options.known_tokenizer = made_[0];
    return open_dataset(prepare_data(options));
  };
  const Dataset in_prompt = prepared(much, little);
  EXPECT_EQ(in_prompt.train.counted, 0u);
  EXPECT_FALSE(in_prompt.train.mask().empty());
  EXPECT_FALSE(in_prompt.validation.mask()[0]);
  EXPECT_EQ(in_prompt.validation.counted, bpe().encode(little).size() + 1);
  EXPECT_EQ(in_prompt.validation.counted_bytes, little.size());
  const Dataset in_completion = prepared(little, much);
  EXPECT_TRUE(in_completion.validation.mask().empty());
  EXPECT_EQ(in_completion.train.tokens.size() - in_completion.train.counted,
            bpe().encode(little).size());
}

TEST_F(CompletionsTest, TokenFilesCarryThem) {
  for (int i = 0; i < 200; ++i) {
    add_completion("abc? " + std::string(static_cast<std::size_t>(i % 9), 'd'), "def.");
  }
  DataOptions options;
  options.data = scratch_.write("a.jsonl", lines_);
  options.cache = scratch_.path() / "cache";
  options.context = 8;
  options.known_tokenizer = made_[0];
  const auto halves = [&] {
    const Dataset data = open_dataset(PreparedData::parse(prepare_data(options).serialize()));
    Wanted train, validation;
    const std::size_t cut = data.train.tokens.size();
    for (std::size_t i = 0; i < wanted_.tokens.size(); ++i) {
      (i < cut ? train : validation).add(wanted_.tokens[i], wanted_.counts[i]);
    }
    for (const std::uint64_t start : wanted_.documents) {
      if (start < cut) train.documents.push_back(start);
      if (start >= cut) validation.documents.push_back(start - cut);
    }
    train.bytes = data.train.counted_bytes;
    validation.bytes = data.validation.counted_bytes;
    EXPECT_EQ(train.bytes + validation.bytes, wanted_.bytes);
    expect(data.train, train);
    expect(data.validation, validation);
  };
  halves();
  halves();  // out of the cache
  // A token file of all, which is cut at its tokens.
  const std::string out = (scratch_.path() / "a.tokens").string();
  tokenize_data(options, out);
  EXPECT_EQ(TokenFile::open(out, TokenFile::Check::digests).document_starts().size(), 200u);
  expect(read(out, bpe()), wanted_);
  options.data = out;
  const Dataset data = open_dataset(PreparedData::parse(prepare_data(options).serialize()));
  EXPECT_EQ(data.train.counted_bytes + data.validation.counted_bytes, wanted_.bytes);
  EXPECT_EQ(data.train.counted + data.validation.counted, read(out, bpe()).counted);
}

}  // namespace
}  // namespace cllm::data
