#include <gmock/gmock.h>
#include <utf8proc.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/base/random.h"
#include "cllm/data/sentencepiece_model.h"
#include "cllm/data/tokenizer.h"
#include "support/environment.h"
#include "support/error_of.h"

// A tokenizer that normalises gives back what normalisation makes of a text, so its quick look at
// what needs none is held against normalising all.
namespace cllm::data {
namespace {

std::string utf8(char32_t code) {
  std::string bytes(4, '\0');
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code),
                                           reinterpret_cast<utf8proc_uint8_t*>(bytes.data()));
  return bytes.substr(0, static_cast<std::size_t>(length));
}

std::string nfc(const std::string& text) {
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> made(
      utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str())), &std::free);
  return reinterpret_cast<const char*>(made.get());
}

class Normalisation : public testing::Test {
 protected:
  const std::unique_ptr<Tokenizer> tokenizer_ =
      build_tokenizer(parse_tokenizer_spec(CLLM_TESTS_DIR "/golden/tokenizers/qwen2.json"), {});

  /// Whether normalisation changes the text.
  bool changes(const std::string& text) const {
    const std::string expected = nfc(text);
    const Encoding encoding = tokenizer_->encode_counting(text);
    EXPECT_EQ(tokenizer_->decode(encoding.tokens), expected) << testing::PrintToString(text);
    EXPECT_EQ(encoding.lost_bytes == 0, expected == text) << testing::PrintToString(text);
    return expected != text;
  }
};

TEST_F(Normalisation, OfEveryCharacterAlone) {
  std::size_t changed = 0;
  for (char32_t code = 1; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    changed += changes(utf8(code)) ? 1 : 0;
  }
  EXPECT_GT(changed, 1000u);  // the compatibility ideographs, for one
}

TEST_F(Normalisation, OfPartsInAnyOrder) {
  // Characters that decompose, their parts, and marks, beside each other in any order.
  std::vector<char32_t> codes;
  for (char32_t code = 0x80; code < 0x110000; ++code) {
    if (code >= 0xAC00 && code < 0xD7A4 && code % 97 != 0) continue;  // 11,172 syllables alike
    const auto* const property = utf8proc_get_property(static_cast<utf8proc_int32_t>(code));
    const bool is_mark = property->combining_class != 0;
    const bool decomposes = property->decomp_seqindex != UINT16_MAX;
    const bool is_part = property->comb_index != UINT16_MAX;
    if (is_mark || decomposes || is_part) codes.push_back(code);
  }
  ASSERT_GT(codes.size(), 3000u);
  const std::uint64_t count = support::count_from_environment("CLLM_FUZZ_STRINGS", 200'000);
  RandomStream random(20261201, 0);
  std::uint64_t changed = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    // Near ones go together: they are of one script.
    const std::uint64_t first = random.below(codes.size());
    std::string text;
    for (std::uint64_t left = 2 + random.below(3); left > 0; --left) {
      const bool is_near = random.below(3) > 0;
      const std::uint64_t at = is_near ? first + random.below(60) : random.below(codes.size());
      text += random.below(8) == 0 ? "e" : utf8(codes[at % codes.size()]);
    }
    changed += changes(text) ? 1 : 0;
  }
  EXPECT_GT(changed, count / 20);
  EXPECT_LT(changed, count);
}

/// The rules of a SentencePiece model lead to what they should, or it is refused.
class Rules : public testing::Test {
 protected:
  /// The message of the Error that the model with such a change of its rules ends with.
  std::string error(const std::function<void(std::string&)>& change) const {
    std::string rules = rules_;
    change(rules);
    std::string blob = blob_;
    blob.replace(blob.find(rules_), rules_.size(), rules);
    return support::error_of([&] { make_tokenizer("sentencepiece", blob); });
  }

  /// Changes the unit of a number.
  static void set_unit(std::string& rules, std::size_t unit, std::uint32_t value) {
    std::memcpy(rules.data() + sizeof(value) * (1 + unit), &value, sizeof(value));
  }

  const std::string blob_ = read_file(CLLM_TESTS_DIR "/golden/tokenizers/bpe.model");
  const std::string rules_ = parse_sentencepiece(blob_, "it").normaliser;
};

TEST_F(Rules, SoundOnesAreFollowed) {
  const auto tokenizer = make_tokenizer("sentencepiece", blob_);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("\uFF21\u2460\uFB01")), "A1fi");
  EXPECT_FALSE(tokenizer->lossless());
}

TEST_F(Rules, OthersAreRefused) {
  const auto refused = testing::HasSubstr("normalisation leads nowhere");
  std::uint32_t trie_bytes = 0, root = 0;
  std::memcpy(&trie_bytes, rules_.data(), sizeof(trie_bytes));
  std::memcpy(&root, rules_.data() + sizeof(root), sizeof(root));
  const std::size_t units = trie_bytes / sizeof(root);
  // Children behind the end, far and by one block.
  EXPECT_THAT(error([](std::string& rules) { set_unit(rules, 0, 0x7FFFFC00); }), refused);
  const auto behind = static_cast<std::uint32_t>(units);
  EXPECT_THAT(error([&](std::string& rules) { set_unit(rules, 0, behind << 10); }), refused);
  // A circle: each label leads to all labels again, and each time a rule ends.
  EXPECT_THAT(error([](std::string& rules) {
                for (std::uint32_t i = 1; i < 256; ++i) set_unit(rules, i, i << 10 | 1u << 8 | i);
                set_unit(rules, 0, 0);
              }),
              refused);
  // Texts behind the end.
  EXPECT_THAT(error([&](std::string& rules) {
                for (std::size_t i = 1; i < units; ++i) {
                  std::uint32_t unit = 0;
                  std::memcpy(&unit, rules.data() + sizeof(unit) * (1 + i), sizeof(unit));
                  if (unit >> 31 != 0) set_unit(rules, i, unit | 0x40000000);
                }
              }),
              refused);
  // A last text without an end, and a trie of another length.
  EXPECT_THAT(error([](std::string& rules) { rules.back() = 'x'; }), refused);
  for (const std::uint32_t bytes : {0u, trie_bytes - 1, trie_bytes - 4, ~0u}) {
    EXPECT_THAT(error([&](std::string& rules) { std::memcpy(rules.data(), &bytes, 4); }), refused)
        << bytes;
  }
}

}  // namespace
}  // namespace cllm::data
