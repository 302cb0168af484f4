#include <nlohmann/json.hpp>

#include "cllm/base/file.h"
#include "cllm/data/tokenizer.h"
#include "fuzz_fixture.h"
#include "mutations.h"

namespace cllm::io {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kTokenizers = CLLM_TESTS_DIR "/golden/tokenizers";

/// A tokenizer of each kind of file. What is spoiled reads as a tokenizer that keeps its word, or
/// is refused.
class TokenizerFuzzTest : public FuzzTest {
 protected:
  /// Loads the tokenizer at `path` and tries it. What it says must be so: tokens are of the
  /// vocabulary, and bytes are lost where it counts them, and nowhere where it says that none are.
  std::string judge(const fs::path& path) const {
    std::string complaint;
    reads(directory_.path(), complaint, [&] {
      const auto tokenizer =
          data::build_tokenizer({.kind = data::TokenizerSpec::Kind::file, .file = path}, {});
      for (const std::string& text : kTexts) {
        const data::Encoding encoding = tokenizer->encode_counting(text);
        for (const std::uint32_t token : encoding.tokens) {
          if (token >= tokenizer->vocabulary()) complaint += "a token out of range; ";
        }
        const bool is_same = tokenizer->decode(encoding.tokens) == text;
        if (is_same != (encoding.lost_bytes == 0)) complaint += "other bytes lost than said; ";
        if (encoding.lost_bytes > text.size()) complaint += "more bytes lost than there are; ";
        if (!is_same && tokenizer->lossless()) complaint += "lossless, but not; ";
      }
      const auto again = data::make_tokenizer(tokenizer->kind(), tokenizer->blob());
      if (again->encode(kTexts[0]) != tokenizer->encode(kTexts[0])) {
        complaint += "another tokenizer from its blob; ";
      }
    });
    return complaint;
  }

  /// Spoils the file `spoiled` of the tokenizer at `path`.
  void fuzz_file(std::uint64_t stream, const fs::path& path, const fs::path& spoiled) const {
    const std::string whole = read_file(spoiled);
    EXPECT_EQ(judge(path), "");
    const auto spoil = [&](RandomStream& random) {
      std::string bytes = whole;
      if (random.below(2) == 0) {
        mutate_bytes(bytes, random);
      } else {
        mutate_text(bytes, random);
      }
      write_file(spoiled, bytes);
    };
    fuzz(stream, spoil, [&] { return judge(path); });
  }

  static void write_file(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  fs::path copy(const std::string& name) const {
    fs::copy_file(kTokenizers / name, directory_.path() / name);
    return directory_.path() / name;
  }

  const std::vector<std::string> kTexts = {"It's 1234 \u00E9 <|tool|>\n\n  x",
                                           "e\u0301 \uFF21\u2460\uFB01 \u00A0\u2581 \xFF the",
                                           " a \n b<unk>"};
};

TEST_F(TokenizerFuzzTest, TokenizerJson) {
  const fs::path path = copy("qwen2.json");
  fuzz_file(61, path, path);
}

TEST_F(TokenizerFuzzTest, TokenizerJsonOfWholeWords) {
  const fs::path path = copy("llama3.json");
  fuzz_file(62, path, path);
}

/// The same tokenizer as older models have it: three files.
TEST_F(TokenizerFuzzTest, VocabularyAndMerges) {
  const Json json = Json::parse(read_file(kTokenizers / "qwen2.json"));
  std::string merges = "#version: 0.2\n";
  for (const Json& merge : json.at("model").at("merges")) {
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  }
  Json decoder;
  for (const Json& added : json.at("added_tokens")) {
    decoder[std::to_string(added.at("id").get<int>())] = added;
  }
  const Json config = {{"tokenizer_class", "Qwen2Tokenizer"}, {"added_tokens_decoder", decoder}};
  const std::map<std::string, std::string> files = {
      {"vocab.json", json.at("model").at("vocab").dump()},
      {"merges.txt", merges},
      {"tokenizer_config.json", config.dump()}};
  std::uint64_t stream = 63;
  for (const auto& [name, text] : files) {
    for (const auto& [other, whole] : files) write_file(directory_.path() / other, whole);
    fuzz_file(stream++, directory_.path() / "vocab.json", directory_.path() / name);
  }
}

TEST_F(TokenizerFuzzTest, SentencePieceBpe) {
  const fs::path path = copy("bpe.model");
  fuzz_file(66, path, path);
}

TEST_F(TokenizerFuzzTest, SentencePieceUnigram) {
  const fs::path path = copy("unigram.model");
  fuzz_file(67, path, path);
}

}  // namespace
}  // namespace cllm::io
