#include "cllm/data/mixed_data.h"

#include <gmock/gmock.h>

#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

class MixedDataTest : public testing::Test {
 protected:
  static std::string text_of(const std::string& word, int lines) {
    std::string text;
    for (int i = 0; i < lines; ++i) text += word + " " + std::to_string(i * i) + "\n";
    return text;
  }
  DataOptions options(const char* tokenizer) const {
    DataOptions result;
    result.cache = scratch_.path() / "cache";
    result.context = 8;
    if (tokenizer != nullptr) result.tokenizer = parse_tokenizer_spec(tokenizer);
    return result;
  }
  /// Prepares, passes the description on as a broadcast would, and opens.
  MixedData load(const std::vector<DataSource>& sources, const DataOptions& given) {
    const PreparedMixture prepared = prepare_mixture(sources, given);
    const PreparedMixture received = PreparedMixture::parse(prepared.serialize());
    EXPECT_EQ(received.digest(), prepared.digest());
    digest_ = received.digest();
    return open_mixture(received);
  }
  std::string refusal(const std::vector<DataSource>& sources, const DataOptions& given) {
    return error_of([&] { prepare_mixture(sources, given); });
  }

  support::ScratchDirectory scratch_;
  const std::string a_ = scratch_.write("a.txt", text_of("sunflower", 300));
  const std::string b_ = scratch_.write("b.txt", text_of("moonlight", 100));
  std::string digest_;
};

TEST_F(MixedDataTest, OneTokenizerIsTrainedOnAllTexts) {
  const MixedData both = load({{a_}, {b_}}, options("bpe:320"));
  ASSERT_EQ(both.sources.size(), 2u);
  EXPECT_EQ(both.sources[0].tokenizer->digest(), both.sources[1].tokenizer->digest());
  const auto has = [](const MixedData& data, const std::string& word) {
    return data.tokenizer()->encode(" " + word).size() <= 2;
  };
  EXPECT_TRUE(has(both, "sunflower") && has(both, "moonlight"));
  // One that saw only the first doesn't know the other's word.
  EXPECT_FALSE(has(load({{a_}}, options("bpe:320")), "moonlight"));
}

TEST_F(MixedDataTest, SharesAreByTokensOrByWeights) {
  const MixedData by_tokens = load({{a_}, {b_}}, options("bytes"));
  const std::uint64_t a = by_tokens.sources[0].train.tokens.size();
  const std::uint64_t b = by_tokens.sources[1].train.tokens.size();
  EXPECT_EQ(by_tokens.parts[0] * b, by_tokens.parts[1] * a);
  EXPECT_EQ(by_tokens.training_tokens(), a + b);
  const std::string without = digest_;
  const MixedData weighted =
      load({parse_data_source(a_ + ":0.7"), parse_data_source(b_ + ":0.3")}, options("bytes"));
  EXPECT_THAT(weighted.parts, ElementsAre(7, 3));
  EXPECT_NE(digest_, without);
  EXPECT_THAT(refusal({parse_data_source(a_ + ":0.7"), {b_}}, options("bytes")),
              HasSubstr("some sources have a weight and others none"));
  EXPECT_THAT(refusal({{a_}, {a_}}, options("bytes")), HasSubstr("given twice"));
}

TEST_F(MixedDataTest, OneSourceIsWhatItWas) {
  const MixedData one = load({{a_}}, options("bytes"));
  DataOptions given = options("bytes");
  given.data = a_;
  EXPECT_EQ(digest_, prepare_data(given).digest());
  EXPECT_THAT(one.parts, ElementsAre(1));
}

TEST_F(MixedDataTest, ATokenFileSaysWhatTheTokensOfAllAre) {
  DataOptions given = options("bpe:320");
  given.data = a_;
  const std::string tokens = (scratch_.path() / "a.tokens").string();
  tokenize_data(given, tokens);
  for (const bool first : {true, false}) {
    const std::vector<DataSource> sources =
        first ? std::vector<DataSource>{{tokens}, {b_}} : std::vector<DataSource>{{b_}, {tokens}};
    const MixedData mixed = load(sources, options(nullptr));
    EXPECT_EQ(mixed.vocabulary(), 320u);
    EXPECT_EQ(mixed.sources[0].tokenizer->digest(), mixed.sources[1].tokenizer->digest());
  }
  EXPECT_THAT(refusal({{tokens}, {b_}}, options("bytes")), HasSubstr("another tokenizer"));
  given.data = b_;
  const std::string other = (scratch_.path() / "b.tokens").string();
  tokenize_data(given, other);
  EXPECT_THAT(refusal({{tokens}, {other}}, options(nullptr)), HasSubstr("another tokenizer"));
  // Of another program's tokens nobody knows what they are.
  const std::string raw = scratch_.write("train.bin", std::string(2000, '\1'));
  EXPECT_THAT(refusal({{raw}, {b_}}, options(nullptr)), HasSubstr("give --tokenizer"));
}

TEST_F(MixedDataTest, OneTextMayValidateForAll) {
  DataOptions given = options("bytes");
  EXPECT_EQ(load({{a_}, {b_}}, given).validated(), 2u);
  given.validation = scratch_.write("v.txt", text_of("star", 90));
  const MixedData mixed = load({{a_}, {b_}}, given);
  EXPECT_EQ(mixed.validated(), 1u);
  EXPECT_EQ(mixed.sources[1].train.tokens.size(), text_of("moonlight", 100).size());
}

}  // namespace
}  // namespace cllm::data
