#include "cllm/data/tokenizer.h"

#include <gmock/gmock.h>
#include <sentencepiece_trainer.h>

#include <map>
#include <thread>
#include <unordered_map>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "support/environment.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;

using testing::HasSubstr;

/// Lines of words put together from syllables, with letters beyond ASCII.
std::string sample_text(std::size_t lines, std::uint64_t seed = 1) {
  static const char* const kSyllables[] = {
      "ri",  "ver", "moun", "tain", "wal",  "ta", "slow", "na",    "ïve", "ca",  "fé", "ü",
      "ber", "日",  "本",   "Ελ",   "λάδα", "ru", "ner",  "stone", "blu", "gar", "de", "mo"};
  static const char* const kEndings[] = {"", "", "s", "ed", "ing", "ly"};
  RandomStream random(seed, 7);
  std::string text;
  for (std::size_t line = 0; line < lines; ++line) {
    for (int word = 0; word < 12; ++word) {
      for (std::uint64_t left = 1 + random.below(3); left > 0; --left) {
        text += kSyllables[random.below(std::size(kSyllables))];
      }
      text += kEndings[random.below(std::size(kEndings))];
      text += word < 11 ? " " : ".\n";
    }
  }
  return text;
}

std::shared_ptr<const Tokenizer> tokenizer(const std::string& spec) {
  static std::map<std::string, std::shared_ptr<const Tokenizer>> made;
  auto& slot = made[spec];
  if (!slot) slot = build_tokenizer(parse_tokenizer_spec(spec), sample_text(400));
  return slot;
}

/// A sequence of what is hard: control look-alikes, odd bytes, reserved characters, long runs.
std::string hard_text(RandomStream& random) {
  static const std::string kHard[] = {"\n",
                                      "\n\n\n",
                                      " ",
                                      "     ",
                                      "\t",
                                      "\r\n",
                                      std::string("\0", 1),
                                      "\xFF",
                                      "\xC0\x80",
                                      "\xE2\x96\x81",
                                      "\xE2\x96\x85",
                                      "\xE2\x96",
                                      "<s>",
                                      "</s>",
                                      "<unk>",
                                      "<0x41>",
                                      "<0x0A>",
                                      "\xEF\xBF\xBD",
                                      "\xED\xA0\x80",
                                      "\xF4\x90\x80\x80",
                                      "\xF0\x9F\x98\x80",
                                      "\xF0\x9F",
                                      "日本",
                                      "e\xCC\x81",
                                      "ﬁ",
                                      "the river ",
                                      "walked",
                                      "\xEF\xBB\xBF",
                                      "\xEF\xBF\xBE",
                                      "\xC2\x85",
                                      "\xE2\x80\xA8",
                                      " ⁇ "};
  std::string text;
  for (std::uint64_t left = random.below(40); left > 0; --left) {
    switch (random.below(4)) {
      case 0:
        text += static_cast<char>(random.below(256));
        break;
      case 1:
        text += static_cast<char>(' ' + random.below(95));
        break;
      default:
        text += kHard[random.below(std::size(kHard))];
    }
  }
  return text;
}

class EveryTokenizer : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, EveryTokenizer, testing::Values("bytes", "bpe:400", "unigram:400"),
                         [](const auto& param) {
                           const std::string name = param.param;
                           return name.substr(0, name.find(':'));
                         });

TEST_P(EveryTokenizer, RoundTripsAnyBytes) {
  const auto it = tokenizer(GetParam());
  const std::uint64_t count = support::count_from_environment("CLLM_FUZZ_STRINGS", 3000);
  RandomStream random(20260101, 0);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string text = hard_text(random);
    const auto tokens = it->encode(text);
    for (const std::uint32_t token : tokens) ASSERT_LT(token, it->vocabulary());
    ASSERT_EQ(it->decode(tokens), text) << "string " << i;
  }
  EXPECT_TRUE(it->lossless());
}

TEST_P(EveryTokenizer, RoundTripsLongLines) {
  const auto it = tokenizer(GetParam());
  std::string spaces, solid, multibyte;
  while (spaces.size() < 3 * kMaxChunk) spaces += "river ";
  while (solid.size() < 3 * kMaxChunk) solid += "river";
  while (multibyte.size() < 3 * kMaxChunk) multibyte += "日本語";
  for (const std::string& text :
       {spaces, solid, multibyte, std::string(3 * kMaxChunk, '\n'), std::string(3 * kMaxChunk, ' '),
        std::string(3 * kMaxChunk, '\x80')}) {
    EXPECT_EQ(it->decode(it->encode(text)), text);
  }
}

TEST_P(EveryTokenizer, IsMadeAgainFromKindAndBlob) {
  const auto it = tokenizer(GetParam());
  const auto again = make_tokenizer(it->kind(), it->blob());
  EXPECT_EQ(again->digest(), it->digest());
  EXPECT_EQ(again->vocabulary(), it->vocabulary());
  const std::string text = sample_text(20, 5);
  EXPECT_EQ(again->encode(text), it->encode(text));
}

TEST_P(EveryTokenizer, LinesEncodeIndependently) {
  const auto it = tokenizer(GetParam());
  const std::string front = sample_text(10, 2) + "\n\n", back = "  " + sample_text(10, 3);
  auto tokens = it->encode(front);
  for (const std::uint32_t token : it->encode(back)) tokens.push_back(token);
  EXPECT_EQ(it->encode(front + back), tokens);
}

TEST_P(EveryTokenizer, EncodesTheSameInAnyNumberOfThreads) {
  const auto it = tokenizer(GetParam());
  std::string text;  // of two blocks of 1 MiB, the first of which ends within a long line
  while (text.size() < (std::size_t{1} << 19)) text += sample_text(200, text.size());
  text += std::string(std::size_t{3} << 18, 'x') + sample_text(3);
  const auto expected = it->encode(text);
  for (const int threads : {1, 3}) {
    std::vector<std::uint32_t> tokens;
    std::size_t bytes = 0;
    encode_parallel(*it, text, threads, [&](auto some, std::size_t some_bytes) {
      tokens.insert(tokens.end(), some.begin(), some.end());
      bytes += some_bytes;
    });
    EXPECT_EQ(tokens, expected) << threads << " threads";
    EXPECT_EQ(bytes, text.size());
  }
}

TEST_P(EveryTokenizer, RefusesATokenOutsideItsVocabulary) {
  const auto it = tokenizer(GetParam());
  EXPECT_NO_THROW(it->token_bytes(it->vocabulary() - 1));
  EXPECT_THAT(error_of([&] { it->token_bytes(it->vocabulary()); }), HasSubstr("vocabulary"));
}

TEST(Tokenizer, ANewOneMarksTheEndOfTextAndNoTextBecomesThat) {
  const std::string text = "a <|endoftext|> <|im_start|>user";
  for (const char* spec : {"bpe:400", "unigram:400"}) {
    const auto it = tokenizer(spec);
    ASSERT_EQ(it->specials().size(), 1u);
    const std::uint32_t end = it->end_of_text().value();
    EXPECT_EQ(it->piece(end), "<|endoftext|>");
    EXPECT_EQ(it->token_bytes(end), "");
    EXPECT_THAT(it->encode(text), testing::Not(testing::Contains(end)));
    EXPECT_EQ(it->decode(it->encode(text)), text);
    EXPECT_THAT(it->encode_with_specials(text).tokens, testing::Contains(end));
    EXPECT_EQ(it->decode(it->encode_with_specials(text).tokens), "a  <|im_start|>user");

    const auto chat =
        build_tokenizer(parse_tokenizer_spec(spec, SpecialTokens::kChatMl), sample_text(400));
    EXPECT_EQ(chat->vocabulary(), 400u);
    EXPECT_EQ(chat->specials().size(), 3u);
    EXPECT_NE(chat->digest(), it->digest());
    EXPECT_THAT(
        chat->encode_with_specials(text).tokens,
        testing::IsSupersetOf({chat->end_of_text().value(), chat->specials().at("<|im_start|>")}));
    EXPECT_EQ(chat->decode(chat->encode(text)), text);
  }
  EXPECT_EQ(tokenizer("bytes")->end_of_text(), std::nullopt);
  for (const char* spec : {"bytes", "x.model"}) {
    EXPECT_THAT(error_of([&] { parse_tokenizer_spec(spec, SpecialTokens::kChatMl); }),
                HasSubstr("--special-tokens"));
  }
}

TEST(Tokenizer, BytesAreTheirOwnTokens) {
  const auto it = tokenizer("bytes");
  EXPECT_EQ(it->vocabulary(), 256u);
  EXPECT_EQ(it->encode("A\n\xFF"), (std::vector<std::uint32_t>{65, 10, 255}));
  EXPECT_EQ(it->piece(65), "A");
  EXPECT_EQ(it->piece(10), "<0x0A>");
}

TEST(Tokenizer, TrainedPiecesShortenText) {
  const std::string text = sample_text(50, 9);
  for (const char* spec : {"bpe:400", "unigram:400"}) {
    const auto it = tokenizer(spec);
    EXPECT_EQ(it->vocabulary(), 400u);
    // A word has two syllables of 3 bytes on average: a vocabulary that knows syllables at all
    // needs well under half a token for each byte.
    EXPECT_LT(it->encode(text).size(), text.size() / 2) << spec;
    EXPECT_NE(it->digest(), tokenizer("bytes")->digest());
  }
  EXPECT_NE(tokenizer("bpe:400")->digest(), tokenizer("unigram:400")->digest());
}

TEST(Tokenizer, NewlineIsOneTokenAndPiecesDoNotCrossIt) {
  for (const char* spec : {"bpe:400", "unigram:400"}) {
    const auto it = tokenizer(spec);
    EXPECT_EQ(it->encode("\n").size(), 1u);
    EXPECT_EQ(it->encode("\n\n\n").size(), 3u);
    for (std::uint32_t token = 0; token < it->vocabulary(); ++token) {
      const std::string_view bytes = it->token_bytes(token);
      EXPECT_TRUE(bytes.find('\n') == bytes.npos || bytes.size() == 1) << it->piece(token);
    }
  }
}

TEST(Tokenizer, TrainingIsDeterministic) {
  for (const char* spec : {"bpe:500", "unigram:500"}) {
    const auto parsed = parse_tokenizer_spec(spec);
    const std::string text = sample_text(300);
    EXPECT_EQ(build_tokenizer(parsed, text)->digest(), build_tokenizer(parsed, text)->digest());
    EXPECT_NE(build_tokenizer(parsed, text)->digest(),
              build_tokenizer(parsed, sample_text(300, 2))->digest());
  }
}

TEST(Tokenizer, TrainsOnTextThatItsTrainerCannotTake) {
  // A word of over 2^16 characters ends the trainer's process, and a line with U+2585 is skipped.
  RandomStream random(3, 3);
  std::string text;
  for (int i = 0; i < 70'000; ++i) text += static_cast<char>('a' + random.below(4));
  text += "\xE2\x96\x85 \xE2\x96\x81 \xFF\xFE " + std::string("\0", 1) + "\tend\t";
  for (const char* spec : {"bpe:300", "unigram:300"}) {
    const auto it = build_tokenizer(parse_tokenizer_spec(spec), text);
    EXPECT_EQ(it->decode(it->encode(text)), text) << spec;
    EXPECT_LT(it->encode(text).size(), text.size()) << spec;
  }
}

TEST(Tokenizer, ASpaceWithoutAPieceIsItsByte) {
  const std::string trained = "abcab\nbcabc\nccab\n", text =
                                                          "ab bc  c\n ab\xE2\x96\x81"
                                                          "bc ";
  for (const char* spec : {"bpe:264", "unigram:263"}) {
    const auto it = build_tokenizer(parse_tokenizer_spec(spec), trained + trained + trained);
    const Encoding encoding = it->encode_counting(text);
    EXPECT_EQ(it->decode(encoding.tokens), text) << spec;
    EXPECT_EQ(encoding.lost_bytes, 0u);
    EXPECT_TRUE(it->lossless());
    EXPECT_EQ(it->encode(" ").size(), 1u);
    EXPECT_EQ(make_tokenizer(it->kind(), it->blob())->encode(text), encoding.tokens);
    // Stored by a program of before, it makes the tokens that it made then, and says what is lost.
    const auto old = make_tokenizer("sentencepiece", it->blob());
    EXPECT_NE(old->digest(), it->digest());
    EXPECT_EQ(old->kind(), "sentencepiece");
    EXPECT_EQ(old->encode(" ").size(), 3u);
    EXPECT_EQ(old->encode_counting(text).lost_bytes, 5u);
    EXPECT_EQ(old->encode("abcab\n"), it->encode("abcab\n"));
  }
  // Where there is a piece for it, nothing is different.
  EXPECT_EQ(tokenizer("bpe:400")->kind(), "sentencepiece");
}

TEST(Tokenizer, IsThreadSafe) {
  const auto it = tokenizer("bpe:400");
  const std::string text = sample_text(100, 4);
  const auto expected = it->encode(text);
  std::vector<std::vector<std::uint32_t>> results(4);
  {
    std::vector<std::jthread> threads;
    for (auto& result : results) threads.emplace_back([&] { result = it->encode(text); });
  }
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(TokenizerSpec, IsReadAndWritten) {
  for (const char* text :
       {"bytes", "bpe:4096", "unigram:8000", "some/dir/x.model", "tokenizer.json"}) {
    EXPECT_EQ(to_string(parse_tokenizer_spec(text)), text);
  }
  EXPECT_EQ(parse_tokenizer_spec("bpe:4096").vocabulary, 4096u);
}

TEST(TokenizerSpec, RefusesWhatItCannotMean) {
  for (const char* text : {"", "byte", "bpe", "bpe:", "bpe:x", "bpe:12x", "bpe:-5", "bpe:259",
                           "bpe:1000001", "unigram:99999999999", "model", "Bytes"}) {
    EXPECT_THAT(error_of([&] { parse_tokenizer_spec(text); }), HasSubstr("--tokenizer")) << text;
  }
  EXPECT_NO_THROW(parse_tokenizer_spec("bpe:260"));
}

TEST(Tokenizer, SaysWhichVocabularySuitsTheText) {
  const std::string text = sample_text(100);
  for (const std::string kind : {"bpe:", "unigram:"}) {
    const auto build = [&](const std::string& size, const std::string& from) {
      return build_tokenizer(parse_tokenizer_spec(kind + size), from);
    };
    // The message's number is what works, and the next one beyond it is what doesn't.
    const auto number_in = [](const std::string& message, const std::string& mark) {
      const std::size_t at = message.find(mark);
      EXPECT_NE(at, message.npos) << message;
      return at == message.npos ? 0 : std::stoi(message.substr(at + mark.size()));
    };
    const std::string small = error_of([&] { build("260", text); });
    const int least = number_in(small, "at least " + kind);
    EXPECT_NO_THROW(build(std::to_string(least), text));
    EXPECT_THROW(build(std::to_string(least - 1), text), Error);

    const std::string large = error_of([&] { build("50000", text); });
    const int most = number_in(large, "at most " + kind);
    EXPECT_NO_THROW(build(std::to_string(most), text));
    EXPECT_THROW(build(std::to_string(most + 1), text), Error);

    EXPECT_THAT(error_of([&] { build("300", ""); }), HasSubstr("no text"));
    EXPECT_THAT(error_of([&] { build("300", "\xFF\n\n"); }), HasSubstr("no text"));
  }
}

TEST(Tokenizer, RefusesABlobThatIsNoModel) {
  EXPECT_THAT(error_of([] { make_tokenizer("sentencepiece", ""); }), HasSubstr("corrupt"));
  EXPECT_THAT(error_of([] { make_tokenizer("sentencepiece", "rubbish"); }), HasSubstr("corrupt"));
  EXPECT_THAT(error_of([] { make_tokenizer("tiktoken", ""); }), HasSubstr("tiktoken"));
  const std::string blob = tokenizer("bpe:400")->blob();
  for (const std::size_t length : {blob.size() / 2, blob.size() / 3, std::size_t{10}}) {
    EXPECT_THROW(make_tokenizer("sentencepiece", std::string_view(blob).substr(0, length)), Error);
  }
}

/// A model as others train them.
std::string foreign_model(const std::unordered_map<std::string, std::string>& overrides) {
  class Lines final : public sentencepiece::SentenceIterator {
   public:
    bool done() const override { return next_ >= 200; }
    void Next() override { line_ = sample_text(1, ++next_); }
    const std::string& value() const override { return line_; }
    sentencepiece::util::Status status() const override { return {}; }

   private:
    std::size_t next_ = 0;
    std::string line_ = sample_text(1, 0);
  } lines;
  std::unordered_map<std::string, std::string> arguments = {
      {"model_type", "bpe"}, {"vocab_size", "400"}, {"minloglevel", "2"}};
  for (const auto& [key, value] : overrides) arguments[key] = value;
  std::string blob;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &lines, &blob);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return blob;
}

TEST(ForeignModel, TellsWhetherItIsLossless) {
  const support::ScratchDirectory scratch;
  const auto load = [&](const std::unordered_map<std::string, std::string>& overrides) {
    return build_tokenizer(parse_tokenizer_spec(scratch.write("x.model", foreign_model(overrides))),
                           {});
  };
  // SentencePiece's defaults: NFKC, no byte pieces.
  EXPECT_FALSE(load({})->lossless());
  EXPECT_FALSE(load({{"byte_fallback", "true"}})->lossless());
  EXPECT_FALSE(load({{"normalization_rule_name", "identity"}})->lossless());
  // Like Llama 2's: a dummy prefix, which is right for sentences, not for a stream.
  const auto llama = load({{"byte_fallback", "true"}, {"normalization_rule_name", "identity"}});
  EXPECT_TRUE(llama->lossless());
  EXPECT_EQ(llama->decode(llama->encode("river  stone\n river")), "river  stone\n river");
}

TEST(ForeignModel, ALossyOneStillEncodesWhatItKnows) {
  const auto it = make_tokenizer("sentencepiece", foreign_model({}));
  EXPECT_EQ(it->decode(it->encode("river walta")), "river walta");
  const std::string odd("\xFF \0 \xE2\x96\x81", 7);
  for (const std::uint32_t token : it->encode(odd)) EXPECT_LT(token, it->vocabulary());
}

TEST(ForeignModel, CountsTheBytesThatItLoses) {
  // "Q" is unknown; NFKC makes a wide A narrow.
  const auto it = make_tokenizer("sentencepiece", foreign_model({}));
  const auto lost = [&](const std::string& text) { return it->encode_counting(text).lost_bytes; };
  EXPECT_EQ(lost("river walta"), 0u);
  EXPECT_EQ(lost("river Qwalta"), 1u);
  EXPECT_EQ(lost("QQ river Q"), 3u);
  EXPECT_EQ(lost("river \xF0\x9F\x98\x80 walta"), 4u);
  EXPECT_EQ(lost("\xEF\xBC\xA1"), 3u);
  EXPECT_EQ(lost("\xFF"), 1u);
  EXPECT_GE(lost("walta\xE2\x96\x81walta"), 3u);  // with letters of the same piece
  EXPECT_EQ(encode_parallel(*it, "river Qwalta\nQ river", 2, [](auto, std::size_t) {}),
            lost("river Qwalta\nQ river"));
}

TEST(ForeignModel, RefusesAFileThatIsNone) {
  const support::ScratchDirectory scratch;
  const std::string path = scratch.write("bad.model", "no model");
  EXPECT_THAT(error_of([&] { build_tokenizer(parse_tokenizer_spec(path), {}); }), HasSubstr(path));
  EXPECT_THAT(error_of([&] { build_tokenizer(parse_tokenizer_spec(path + ".model"), {}); }),
              HasSubstr(path + ".model"));
}

}  // namespace
}  // namespace cllm::data
