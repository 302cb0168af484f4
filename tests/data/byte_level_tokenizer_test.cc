#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "cllm/base/digest.h"
#include "cllm/base/file.h"
#include "cllm/base/random.h"
#include "cllm/data/tokenizer.h"
#include "support/environment.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

// Against Hugging Face's `tokenizers`; tests/interop/make_tokenizers.py made the files and the ids.
namespace cllm::data {
namespace {

using Json = nlohmann::json;
using Tokens = std::vector<std::uint32_t>;
using support::error_of;
using testing::HasSubstr;

const std::filesystem::path kFolder = CLLM_TESTS_DIR "/golden/tokenizers";

std::unique_ptr<Tokenizer> load(const std::string& path) {
  return build_tokenizer(parse_tokenizer_spec(path), {});
}

std::string utf8(char32_t code) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xC0 | code >> 6), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xE0 | code >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | code >> 18), tail(12), tail(6), tail(0)};
}

/// What make_tokenizers.py leaves out: what is no character, and where Digits is, numbers of
/// Unicode 17.0.
bool is_left_out(char32_t code, std::string_view pattern) {
  const bool is_newest = (code >= 0x11DE0 && code < 0x11DEA) || (code >= 0x16FF4 && code < 0x16FF7);
  return (code >= 0xD800 && code < 0xE000) || (pattern == "smollm" && is_newest);
}

/// What make_tokenizers.py makes of each other code point.
std::string among_others(const std::string& c) {
  return c + " a" + c + "1" + c + "'" + c + " " + c + c + "b\n" + c + "\n " + c + "'s" + c + c +
         "\t" + c + ".";
}

class ByteLevel : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = load((kFolder / GetParam()).string() + ".json");
  Json golden_ = Json::parse(read_file(kFolder / "ids.json"));
  Json ids_ = golden_.at("tokenizers").at(GetParam());
};
INSTANTIATE_TEST_SUITE_P(, ByteLevel, testing::Values("gpt2", "llama3", "qwen2", "smollm"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(ByteLevel, MakesTheTokensOfTrickyTexts) {
  const std::vector<std::string> texts = golden_.at("tricky");
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer_->encode(texts[i]), ids_.at("tricky").at(i).get<Tokens>())
        << testing::PrintToString(texts[i]);
  }
}

TEST_P(ByteLevel, MakesTheTokensOfEveryCharacter) {
  Digest digest, other;
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (is_left_out(code, GetParam())) continue;
    const Tokens tokens = tokenizer_->encode(among_others(utf8(code)));
    digest.update(std::as_bytes(std::span(tokens)));
    // A single wrong one would be found.
    const Tokens wrong = code == 0x105C0 ? tokenizer_->encode("?") : tokens;
    other.update(std::as_bytes(std::span(wrong)));
  }
  EXPECT_EQ(digest.hex(), ids_.at("every_character").get<std::string>());
  EXPECT_NE(other.hex(), ids_.at("every_character").get<std::string>());
}

TEST_P(ByteLevel, MakesTheTokensOfWholeTexts) {
  const char* folder = std::getenv("CLLM_DATA_DIR");
  const std::filesystem::path data = folder != nullptr ? folder : CLLM_DATA_DIR;
  for (const auto& [name, digest] : ids_.at("texts").items()) {
    if (!std::filesystem::exists(data / name)) {
      GTEST_SKIP() << "real text is not at hand; set CLLM_DATA_DIR to a folder with " << name;
    }
    const std::string text = read_file(data / name);
    const Encoding encoding = tokenizer_->encode_counting(text);
    EXPECT_EQ(digest_hex(std::as_bytes(std::span(encoding.tokens))), digest.get<std::string>())
        << name;
    const bool is_same = tokenizer_->decode(encoding.tokens) == text;
    EXPECT_EQ(is_same, encoding.lost_bytes == 0);
    EXPECT_TRUE(is_same || !tokenizer_->lossless());
  }
}

TEST_P(ByteLevel, IsMadeAgainFromKindAndBlob) {
  const auto again = make_tokenizer(tokenizer_->kind(), tokenizer_->blob());
  EXPECT_EQ(again->digest(), tokenizer_->digest());
  EXPECT_EQ(again->encode("Hello, world"), tokenizer_->encode("Hello, world"));
  EXPECT_EQ(again->specials(), tokenizer_->specials());
}

TEST_P(ByteLevel, MakesNoSpecialTokenUnlessAsked) {
  const std::string text = "a<|im_start|>b<|endoftext|>";
  const std::uint32_t start = tokenizer_->specials().at("<|im_start|>");
  const std::uint32_t end = tokenizer_->specials().at("<|endoftext|>");
  EXPECT_EQ(tokenizer_->end_of_text(), end);
  const Tokens plain = tokenizer_->encode(text);
  EXPECT_THAT(plain, testing::Not(testing::Contains(testing::AnyOf(start, end))));
  EXPECT_EQ(tokenizer_->decode(plain), text);
  Tokens expected = tokenizer_->encode("a");
  expected.push_back(start);
  for (const std::uint32_t token : tokenizer_->encode("b")) expected.push_back(token);
  expected.push_back(end);
  EXPECT_EQ(tokenizer_->encode_with_specials(text).tokens, expected);
  EXPECT_EQ(tokenizer_->decode(expected), "ab");
  EXPECT_EQ(tokenizer_->piece(end), "<|endoftext|>");
}

/// Texts of what patterns look at, whole and broken.
std::string odd_text(RandomStream& random) {
  static const std::vector<std::string> kParts = {" ",       "  ",
                                                  "\n",      "\r\n",
                                                  "\n\n",    "\t",
                                                  "'s",      "'LL",
                                                  "a",       "Zebra",
                                                  "ab",      "1",
                                                  "12",      "1234",
                                                  "!",       "?!",
                                                  "\u00A0",  "\u4E2D",
                                                  "\u3002",  "e\u0301",
                                                  "\xFF",    "\xE2\x96",
                                                  "\u0338",  "<|tool|>",
                                                  " a \n b", "<|endoftext|>",
                                                  "\u2028",  "\U0001F600"};
  std::string text;
  for (std::uint64_t left = random.below(30); left > 0; --left) {
    text += kParts[random.below(kParts.size())];
  }
  return text;
}

TEST_P(ByteLevel, GivesBackAnyBytes) {
  const std::uint64_t count = support::count_from_environment("CLLM_FUZZ_STRINGS", 3000);
  RandomStream random(20260301, 0);
  std::uint64_t changed = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string text = odd_text(random);
    const Encoding encoding = tokenizer_->encode_counting(text);
    const bool is_same = tokenizer_->decode(encoding.tokens) == text;
    ASSERT_EQ(is_same, encoding.lost_bytes == 0) << testing::PrintToString(text);
    ASSERT_LE(encoding.lost_bytes, text.size());
    ASSERT_TRUE(is_same || !tokenizer_->lossless()) << testing::PrintToString(text);
    changed += is_same ? 0 : 1;
  }
  EXPECT_EQ(changed > 0, !tokenizer_->lossless());  // qwen2 normalises
}

TEST_P(ByteLevel, MakesTheSameTokensWhereverTextIsCut) {
  // A text of less than a chunk is not cut; behind others of all lengths it is cut all over.
  RandomStream random(20260302, 0);
  std::string text = " a";
  while (text.size() < 30'000) text += odd_text(random);
  ASSERT_EQ(tokenizer_->chunk_length(text), text.size());
  const Tokens expected = tokenizer_->encode(text);
  std::set<std::size_t> cuts;
  for (int i = 0; i < 100; ++i) {
    const std::string front(3000 + random.below(29'000), 'x');
    const Tokens tokens = tokenizer_->encode(front + text);
    cuts.insert(tokenizer_->chunk_length(front + text) - front.size());
    const std::size_t before = tokenizer_->encode(front).size();
    ASSERT_EQ(Tokens(tokens.begin() + static_cast<std::ptrdiff_t>(before), tokens.end()), expected)
        << front.size();
  }
  EXPECT_GT(cuts.size(), 80u);
}

TEST_P(ByteLevel, MakesTheSameTokensInAnyNumberOfThreads) {
  RandomStream random(20260305, 0);
  std::string text;
  while (text.size() < (std::size_t{5} << 19)) text += odd_text(random);
  const Tokens expected = tokenizer_->encode(text);
  for (const int threads : {1, 2}) {
    Tokens tokens;
    encode_parallel(*tokenizer_, text, threads, [&](auto some, std::size_t) {
      tokens.insert(tokens.end(), some.begin(), some.end());
    });
    EXPECT_EQ(tokens, expected);
  }
}

TEST_P(ByteLevel, TakesWordsOfAnyLength) {
  RandomStream random(20260303, 0);
  std::string word, spaces(200'000, ' ');
  for (int i = 0; i < 200'000; ++i) word += static_cast<char>('a' + random.below(26));
  for (const std::string& text : {word, spaces, spaces + "x", word + "\xFF" + word}) {
    EXPECT_EQ(tokenizer_->decode(tokenizer_->encode(text)), text);
  }
}

TEST_P(ByteLevel, IsThreadSafe) {
  const std::string text = among_others("\u00E9") + among_others("z");
  const Tokens expected = tokenizer_->encode(text);
  std::vector<Tokens> results(4);
  {
    std::vector<std::jthread> threads;
    for (auto& result : results) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) result = tokenizer_->encode(text);
      });
    }
  }
  for (const Tokens& result : results) EXPECT_EQ(result, expected);
}

TEST(ByteLevelFiles, VocabularyAndMergesAreTheSameTokenizer) {
  const support::ScratchDirectory scratch;
  const Json json = Json::parse(read_file(kFolder / "qwen2.json"));
  const Json& model = json.at("model");
  std::string merges = "#version: 0.2\n";
  for (const Json& merge : model.at("merges")) {
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  }
  Json vocabulary = model.at("vocab"), decoder;
  for (const Json& added : json.at("added_tokens")) {
    decoder[std::to_string(added.at("id").get<int>())] = added;
  }
  scratch.write("vocab.json", vocabulary.dump());
  scratch.write("merges.txt", merges);
  const std::string text = among_others("e\u0301") + " 12 it'S";
  const auto as_gpt2 = load(scratch.path().string());
  EXPECT_EQ(as_gpt2->specials().size(), 1u);  // <|endoftext|>, which everybody knows
  EXPECT_TRUE(as_gpt2->lossless());
  scratch.write(
      "tokenizer_config.json",
      Json{{"tokenizer_class", "Qwen2Tokenizer"}, {"added_tokens_decoder", decoder}}.dump());
  const auto whole = load((kFolder / "qwen2.json").string());
  const auto pair = load((scratch.path() / "vocab.json").string());
  EXPECT_EQ(pair->encode(text), whole->encode(text));
  EXPECT_NE(pair->encode(text), as_gpt2->encode(text));
  EXPECT_EQ(pair->specials(), whole->specials());
  EXPECT_EQ(make_tokenizer(pair->kind(), pair->blob())->encode(text), whole->encode(text));

  scratch.write("tokenizer_config.json", R"({"tokenizer_class": "CodeGenTokenizer"})");
  EXPECT_THAT(error_of([&] { load(scratch.path().string()); }), HasSubstr("CodeGenTokenizer"));
  scratch.write("tokenizer_config.json", "{}");
  scratch.write("merges.txt", merges + "a \xFF\n");
  EXPECT_THAT(error_of([&] { load(scratch.path().string()); }),
              testing::AllOf(HasSubstr("merges.txt"), HasSubstr("no UTF-8")));
  // A tokenizer.json is taken before them.
  scratch.write("tokenizer.json", read_file(kFolder / "gpt2.json"));
  EXPECT_EQ(load(scratch.path().string())->digest(),
            load((kFolder / "gpt2.json").string())->digest());
  EXPECT_THAT(error_of([&] { load(kFolder.parent_path().string()); }),
              HasSubstr("holds no tokenizer"));
}

}  // namespace
}  // namespace cllm::data
