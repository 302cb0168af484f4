#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/data/tokenizer.h"
#include "support/environment.h"

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

}  // namespace
}  // namespace cllm::data
