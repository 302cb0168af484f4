#include <cstring>

#include "formats_fixture.h"

namespace cllm::io {
namespace {

using testing::HasSubstr;

class LlmCTest : public FormatsTest {
 protected:
  /// A checkpoint that llm.c's own script wrote, with fields of its header changed.
  std::string refused_with(std::size_t field, std::int32_t value) const {
    std::string bytes = good_;
    std::memcpy(bytes.data() + 4 * field, &value, sizeof(value));
    write("file", bytes);
    return refusal(path("file"));
  }
  const std::string good_ = read_file(std::filesystem::path(kGoldenModels) / "llm_c-f32" / "model");
};

TEST_F(LlmCTest, RowsThatFillTheTableUpAreLeftOut) {
  write("file", good_);
  const Imported model(path("file"));
  EXPECT_EQ(model.layout.config().vocabulary, 61U);
  EXPECT_THAT(model.head.tokenizer_note, HasSubstr("token files"));
  // A row too many is not read, whatever it holds.
  std::string other = good_;
  const std::size_t last_row = 1024 + 63 * 16 * 4;
  std::memset(other.data() + last_row, 0xFF, 16 * 4);
  write("file", other);
  EXPECT_EQ(bits_of(model.layout, Imported(path("file")).parameters),
            bits_of(model.layout, model.parameters));
}

TEST_F(LlmCTest, HeadersThatCannotBe) {
  EXPECT_THAT(refused_with(1, 1), HasSubstr("of version 1"));
  EXPECT_THAT(refused_with(1, 5), HasSubstr("bytes more than its tensors"));
  EXPECT_THAT(refused_with(2, 17), HasSubstr("cut off"));
  EXPECT_THAT(refused_with(2, 0), HasSubstr("field 2"));
  EXPECT_THAT(refused_with(3, 65), HasSubstr("padded vocabulary of 64"));
  EXPECT_THAT(refused_with(3, -1), HasSubstr("field 3"));
  EXPECT_THAT(refused_with(4, 1), HasSubstr("bytes more"));
  EXPECT_THAT(refused_with(4, 9999), HasSubstr("too small for the 9999 layers"));
  EXPECT_THAT(refused_with(5, 3), HasSubstr("can't be"));
  EXPECT_THAT(refused_with(6, 0x7fffffff), HasSubstr("can't be"));
  EXPECT_THAT(refused_with(7, 0x7fffffff), HasSubstr("cut off"));
  write("file", good_.substr(0, 1000));
  EXPECT_THAT(refusal(path("file")), HasSubstr("cut off"));
  write("file", good_ + "x");
  EXPECT_THAT(refusal(path("file")), HasSubstr("1 bytes more"));
}

}  // namespace
}  // namespace cllm::io
