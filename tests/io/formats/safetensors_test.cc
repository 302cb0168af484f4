#include "cllm/io/formats/safetensors.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "formats_fixture.h"

namespace cllm::io {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

class SafetensorsTest : public FormatsTest {
 protected:
  /// A file of this header and so many bytes of data.
  void write_file(const std::string& header, std::size_t data,
                  std::optional<std::uint64_t> length = {}) const {
    const std::uint64_t stated = length.value_or(header.size());
    std::string bytes(reinterpret_cast<const char*>(&stated), sizeof(stated));
    write("file", bytes + header + std::string(data, '\1'));
  }
  static Json entry(const char* type, std::vector<std::uint64_t> shape, std::uint64_t begin,
                    std::uint64_t end) {
    return {{"dtype", type}, {"shape", shape}, {"data_offsets", {begin, end}}};
  }
  std::string refused() const {
    try {
      read_safetensors(path("file"));
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(path("file").string()));
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }
  std::string refused(const Json& header, std::size_t data) const {
    write_file(header.dump(), data);
    return refused();
  }
};

TEST_F(SafetensorsTest, AGoodFileIsRead) {
  write_file(Json{{"__metadata__", {{"format", "pt"}}},
                  {"a", entry("F32", {2, 1}, 0, 8)},
                  {"b", entry("I64", {1}, 8, 16)},
                  {"none", entry("F16", {0, 3}, 8, 8)}}
                     .dump() +
                 "   ",
             16);
  const TensorArchive archive = read_safetensors(path("file"));
  ASSERT_EQ(archive.tensors.size(), 3U);
  EXPECT_EQ(archive.tensors.at("a").type, ElementType::kF32);
  EXPECT_EQ(archive.tensors.at("a").shape, (std::vector<std::uint64_t>{2, 1}));
  EXPECT_FALSE(archive.tensors.at("b").type);
}

TEST_F(SafetensorsTest, LengthsOfTheHeader) {
  write("file", "short");
  EXPECT_THAT(refused(), HasSubstr("is no safetensors file, or is cut off"));
  const std::string good = Json{{"a", entry("F32", {1}, 0, 4)}}.dump();
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1000}, std::uint64_t{100'000'001},
        std::uint64_t{0xFFFFFFFFFFFFFFFF}, std::uint64_t{1} << 63}) {
    write_file(good, 4, length);
    refused();
  }
  write_file(good, 4, good.size() - 1);
  EXPECT_THAT(refused(), HasSubstr("is not JSON"));
  write_file("[1]", 0);
  EXPECT_THAT(refused(), HasSubstr("no safetensors"));
}

TEST_F(SafetensorsTest, PlacesAndShapes) {
  EXPECT_THAT(refused({{"a", entry("F32", {2}, 0, 4)}}, 4), HasSubstr("its shape (2) needs 8"));
  EXPECT_THAT(refused({{"a", entry("F32", {2}, 0, 8)}}, 4), HasSubstr("outside the file"));
  EXPECT_THAT(refused({{"a", entry("F32", {1}, 8, 4)}}, 8), HasSubstr("outside the file"));
  EXPECT_THAT(refused({{"a", entry("F32", {1}, 0, 4)}, {"b", entry("F32", {1}, 0, 4)}}, 4),
              HasSubstr("overlap"));
  EXPECT_THAT(refused({{"a", entry("F32", {1}, 0, 4)}, {"b", entry("F32", {1}, 8, 12)}}, 12),
              HasSubstr("leave bytes between"));
  EXPECT_THAT(refused({{"a", entry("F32", {1}, 0, 4)}}, 5), HasSubstr("bytes follow"));
  const std::uint64_t huge = std::uint64_t{1} << 62;
  EXPECT_THAT(refused({{"a", entry("F32", {huge, 4}, 0, 0)}}, 0), HasSubstr("larger than any"));
  EXPECT_THAT(refused({{"a", entry("F32", std::vector<std::uint64_t>(9, 1), 0, 4)}}, 4),
              HasSubstr("9 dimensions"));
  EXPECT_THAT(refused({{"a", entry("X9", {1}, 0, 4)}}, 4), HasSubstr("\"X9\""));
  EXPECT_THAT(refused({{"a", {{"dtype", "F32"}, {"shape", {-1}}, {"data_offsets", {0, 4}}}}}, 4),
              HasSubstr("not a list of whole numbers"));
  EXPECT_THAT(refused({{"a", {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {0}}}}}, 4),
              HasSubstr("are not two"));
  EXPECT_THAT(refused({{"a\n", entry("F32", {1}, 0, 4)}}, 4), HasSubstr("control characters"));
  EXPECT_THAT(refused({{"a", 3}}, 0), HasSubstr("not a JSON object"));
}

TEST_F(SafetensorsTest, DepthAndDuplicates) {
  write_file("{\"a\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}", 0);
  EXPECT_THAT(refused(), HasSubstr("nests deeper"));
  const std::string one = entry("F32", {1}, 0, 4).dump();
  write_file("{\"a\":" + one + ",\"a\":" + one + "}", 4);
  EXPECT_THAT(refused(), HasSubstr("\"a\" twice"));
}

TEST_F(SafetensorsTest, TheIndexIsChecked) {
  const Exported model(small_model("llama"));
  export_transformers(path("out"), model.view(), ElementType::kF32, 40'000);
  const std::filesystem::path index = path("out") / "model.safetensors.index.json";
  const Json good = Json::parse(read_file(index));
  const auto refused_with = [&](const Json& json) {
    write(index, json.dump());
    return refusal(path("out"));
  };
  Json bad = good;
  bad["weight_map"]["model.norm.weight"] = "../elsewhere.safetensors";
  EXPECT_THAT(refused_with(bad), HasSubstr("not a file's name"));
  bad = good;
  bad["weight_map"]["more"] = bad["weight_map"]["model.norm.weight"];
  EXPECT_THAT(refused_with(bad), HasSubstr("says that more is in"));
  bad = good;
  bad.erase("weight_map");
  EXPECT_THAT(refused_with(bad), HasSubstr("weight_map"));
  write(index, good.dump());
  EXPECT_NO_THROW(Imported{path("out")});
}

}  // namespace
}  // namespace cllm::io
