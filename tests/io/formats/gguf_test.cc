#include "cllm/io/formats/gguf.h"

#include <cstring>

#include "formats_fixture.h"

namespace cllm::io {
namespace {

using testing::HasSubstr;

/// Hand-made files, one for each field that can be wrong.
class GgufTest : public FormatsTest {
 protected:
  template <typename T>
  static std::string le(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof(value)};
  }
  static std::string text(std::string_view value) {
    return le(std::uint64_t{value.size()}).append(value);
  }
  static std::string head(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    return "GGUF" + le(version) + le(tensors) + le(keys);
  }
  static std::string tensor(std::string_view name, std::vector<std::uint64_t> extents,
                            std::uint32_t type, std::uint64_t offset) {
    std::string bytes = text(name) + le(static_cast<std::uint32_t>(extents.size()));
    for (const std::uint64_t extent : extents) bytes += le(extent);
    return bytes + le(type) + le(offset);
  }
  /// The file with `data` bytes behind the padding.
  static std::string padded(std::string bytes, std::size_t data) {
    bytes.resize((bytes.size() + 31) / 32 * 32);
    return bytes + std::string(data, '\0');
  }
  std::string refused(const std::string& bytes) const {
    write("file", bytes);
    try {
      const GgufFile file(path("file"));
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(path("file").string()));
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }
};

TEST_F(GgufTest, AGoodFileIsRead) {
  const std::string list =
      le(std::uint32_t{9}) + le(std::uint32_t{8}) + le(std::uint64_t{2}) + text("a") + text("");
  write("file", padded(head(2, 3) + text("n") + le(std::uint32_t{4}) + le(std::uint32_t{7}) +
                           text("l") + list + text("yes") + le(std::uint32_t{7}) + "\1" +
                           tensor("a", {3, 2}, 0, 64) + tensor("b", {32}, 8, 0),
                       64 + 24));
  const GgufFile file(path("file"));
  EXPECT_EQ(file.integer("n"), 7U);
  EXPECT_TRUE(file.flag("yes"));
  EXPECT_EQ(file.texts("l"), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(file.archive().tensors.at("a").shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_THROW(static_cast<void>(file.text("n")), Error);
  EXPECT_THROW(static_cast<void>(file.integer("none")), Error);
  EXPECT_THROW(static_cast<void>(file.floats("l")), Error);
}

TEST_F(GgufTest, HeadersAndKeys) {
  EXPECT_THAT(refused("GGU"), HasSubstr("cut off"));
  EXPECT_THAT(refused("GGML" + std::string(60, '\0')), HasSubstr("no GGUF"));
  EXPECT_THAT(refused(head(0, 0, 1)), HasSubstr("version 1"));
  const std::uint64_t huge = 0xFFFFFFFFFFFFFFFF;
  EXPECT_THAT(refused(head(huge, 0)), HasSubstr("cut off"));
  EXPECT_THAT(refused(head(0, huge)), HasSubstr("cut off"));
  EXPECT_THAT(refused(head(0, 1) + le(huge) + "key"), HasSubstr("cut off"));
  const auto key = [&](std::uint32_t type, const std::string& value) {
    return head(0, 1) + text("key") + le(type) + value;
  };
  EXPECT_THAT(refused(key(99, "")), HasSubstr("unknown type 99"));
  EXPECT_THAT(refused(key(7, "\2")), HasSubstr("neither true nor false"));
  EXPECT_THAT(refused(key(8, le(huge))), HasSubstr("cut off"));
  EXPECT_THAT(refused(key(9, le(std::uint32_t{4}) + le(huge))), HasSubstr("longer than any file"));
  EXPECT_THAT(refused(key(9, le(std::uint32_t{8}) + le(huge))), HasSubstr("cut off"));
  EXPECT_THAT(refused(key(9, le(std::uint32_t{9}) + le(std::uint64_t{1}))),
              HasSubstr("list of values of type 9"));
  const std::string twice = text("key") + le(std::uint32_t{7}) + "\1";
  EXPECT_THAT(refused(head(0, 2) + twice + twice), HasSubstr("twice"));
  for (const std::uint32_t alignment : {0U, 3U, 1U << 30}) {
    EXPECT_THAT(
        refused(head(0, 1) + text("general.alignment") + le(std::uint32_t{4}) + le(alignment)),
        HasSubstr("general.alignment"));
  }
}

TEST_F(GgufTest, Tensors) {
  const auto one = [&](const std::string& entry, std::size_t data = 64) {
    return refused(padded(head(1, 0) + entry, data));
  };
  EXPECT_THAT(one(tensor("", {4}, 0, 0)), HasSubstr("name has 0 bytes"));
  EXPECT_THAT(one(tensor(std::string(64, 'a'), {4}, 0, 0)), HasSubstr("name has 64 bytes"));
  EXPECT_THAT(one(tensor("a\nb", {4}, 0, 0)), HasSubstr("control characters"));
  EXPECT_THAT(one(tensor("a", {}, 0, 0)), HasSubstr("0 dimensions"));
  EXPECT_THAT(one(tensor("a", {1, 1, 1, 1, 1}, 0, 0)), HasSubstr("5 dimensions"));
  EXPECT_THAT(one(tensor("a", {4, 0}, 0, 0)), HasSubstr("a shape that no tensor has"));
  EXPECT_THAT(one(tensor("a", {1U << 31, 1U << 31}, 0, 0)), HasSubstr("a shape that no tensor"));
  EXPECT_THAT(one(tensor("a", {256}, 12, 0)), HasSubstr("type 12 of ggml"));
  EXPECT_THAT(one(tensor("a", {31, 2}, 8, 0)), HasSubstr("not whole blocks"));
  EXPECT_THAT(one(tensor("a", {4}, 0, 8)), HasSubstr("no multiple of 32"));
  EXPECT_THAT(one(tensor("a", {17}, 0, 0)), HasSubstr("outside the file"));
  EXPECT_THAT(one(tensor("a", {4}, 0, std::uint64_t{1} << 63)), HasSubstr("outside the file"));
  EXPECT_THAT(refused(padded(head(2, 0) + tensor("a", {9}, 0, 0) + tensor("b", {4}, 0, 32), 64)),
              HasSubstr("overlaps"));
  EXPECT_THAT(refused(padded(head(2, 0) + tensor("a", {4}, 0, 0) + tensor("a", {4}, 0, 32), 64)),
              HasSubstr("twice"));
}

/// A whole model whose keys were changed.
TEST_F(GgufTest, ModelsThatCannotBeRead) {
  const auto refused_with = [&](const std::string& from, const std::string& to) {
    const Exported model(small_model("llama"));
    export_gguf(path("out"), model.view(), ElementType::kF32);
    std::string bytes = read_file(path("out"));
    const std::size_t at = bytes.find(from);
    EXPECT_NE(at, bytes.npos) << from;
    EXPECT_EQ(from.size(), to.size());
    bytes.replace(at, from.size(), to);
    write("out", bytes);
    return refusal(path("out"));
  };
  const auto size = [&](std::string_view key, std::uint32_t value) {
    return text(key) + le(std::uint32_t{4}) + le(value);
  };
  EXPECT_THAT(refused_with(text("llama"), text("mamba")), HasSubstr("gpt2, llama and qwen3"));
  EXPECT_THAT(refused_with("llama.vocab_size", "llama.vocab_sixe"), HasSubstr("vocab_sixe"));
  EXPECT_THAT(refused_with("blk.1.ffn_up", "blk.1.ffn_uq"), HasSubstr("lacks the tensor"));
  EXPECT_THAT(refused_with(size("llama.block_count", 2), size("llama.block_count", 1)),
              HasSubstr("the model has no place for blk.1"));
  EXPECT_THAT(refused_with(size("llama.block_count", 2), size("llama.block_count", 9999)),
              HasSubstr("9999 layers"));
  EXPECT_THAT(
      refused_with(size("llama.feed_forward_length", 96), size("llama.feed_forward_length", 95)),
      HasSubstr("has the shape (96, 32), and the model needs (95, 32)"));
  EXPECT_THAT(
      refused_with(size("llama.rope.dimension_count", 8), size("llama.rope.dimension_count", 4)),
      HasSubstr("rope.dimension_count is 4"));
}

}  // namespace
}  // namespace cllm::io
