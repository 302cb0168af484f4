#include <gmock/gmock.h>
#include <zlib.h>
#include <zstd.h>

#include "cllm/base/random.h"
#include "cllm/data/dataset.h"
#include "cllm/data/tokenizer.h"
#include "support/environment.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;
using testing::HasSubstr;

std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string zstd(const std::string& text) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                     &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);  // as the program zstd does
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(
      ZSTD_compress2(context.get(), packed.data(), packed.size(), text.data(), text.size()));
  return packed;
}

/// Text of over one piece of unpacking.
std::string long_text() {
  RandomStream random(5, 0);
  std::string text;
  while (text.size() < 700'000) {
    for (std::uint64_t left = 1 + random.below(9); left > 0; --left) {
      text += static_cast<char>('a' + random.below(26));
    }
    text += random.below(12) == 0 ? '\n' : ' ';
  }
  return text;
}

class Unpack : public testing::TestWithParam<std::string (*)(const std::string&)> {
 protected:
  /// The text that commands read of a file with these bytes.
  std::string read(const std::string& bytes) const {
    const std::string path = scratch_.write("text.packed", bytes);
    const DataPart part = load_part(path, bytes_.get(), 256);
    std::string text;
    part.tokens.for_each(0, part.tokens.size(), [&](std::size_t, std::uint32_t token) {
      text += static_cast<char>(token);
    });
    return text;
  }

  support::ScratchDirectory scratch_;
  std::unique_ptr<Tokenizer> bytes_ = make_tokenizer("bytes", "");
};
INSTANTIATE_TEST_SUITE_P(, Unpack, testing::Values(&gzip, &zstd),
                         [](const auto& param) { return param.index == 0 ? "gzip" : "zstd"; });

TEST_P(Unpack, ReadsWhatWasPacked) {
  const auto pack = GetParam();
  const std::string text = long_text();
  EXPECT_EQ(read(pack(text)), text);
  EXPECT_EQ(read(pack("ab")), "ab");
  EXPECT_EQ(read(pack(text) + pack("and more") + pack("")), text + "and more");
  EXPECT_THAT(error_of([&] { read(pack("")); }), HasSubstr("empty"));
}

TEST_P(Unpack, RefusesWhatIsNotWhole) {
  const std::string packed = GetParam()(long_text());
  for (const std::size_t length : {packed.size() - 1, packed.size() / 2, std::size_t{20}}) {
    EXPECT_THAT(error_of([&] { read(packed.substr(0, length)); }), HasSubstr("cut short"));
  }
  EXPECT_THAT(error_of([&] { read(packed + "tail"); }), HasSubstr("corrupt"));
  EXPECT_THAT(error_of([&] { read(GetParam()(std::string("a\0b", 3))); }), HasSubstr("not text"));
}

TEST_P(Unpack, ReadsFilesOfADirectory) {
  const auto pack = GetParam();
  scratch_.write("texts/1.txt", "first");
  scratch_.write("texts/2.txt", pack("second"));
  const DataPart part = load_part((scratch_.path() / "texts").string(), bytes_.get(), 256);
  EXPECT_EQ(part.source_bytes, std::string("first\nsecond").size());
}

TEST_P(Unpack, AnySpoiledFileIsReadOrRefused) {
  const std::string packed = GetParam()(long_text().substr(0, 20'000));
  const std::uint64_t count = support::count_from_environment("CLLM_FUZZ", 125);
  std::uint64_t refused = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    RandomStream random(20260306, i);
    std::string spoiled = packed;
    for (std::uint64_t left = 1 + random.below(3); left > 0; --left) {
      spoiled[4 + random.below(packed.size() - 4)] = static_cast<char>(random.below(256));
    }
    try {
      read(spoiled);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, count / 2);
}

TEST(UnpackBomb, IsRefused) {
  const support::ScratchDirectory scratch;
  const auto bytes = make_tokenizer("bytes", "");
  const std::string path = scratch.write("b.zst", zstd(std::string(std::size_t{64} << 20, 'a')));
  EXPECT_THAT(error_of([&] { load_part(path, bytes.get(), 256); }), HasSubstr("no text"));
}

}  // namespace
}  // namespace cllm::data
