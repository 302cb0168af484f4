#include "unpack.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include "cllm/base/error.h"

namespace cllm::data {
namespace {

constexpr std::array<unsigned char, 3> kGzip = {0x1F, 0x8B, 0x08};
constexpr std::array<unsigned char, 4> kZstd = {0x28, 0xB5, 0x2F, 0xFD};

template <std::size_t N>
bool begins_with(std::span<const std::byte> file, const std::array<unsigned char, N>& magic) {
  return file.size() >= N && std::memcmp(file.data(), magic.data(), N) == 0;
}

[[noreturn]] void fail_corrupt(const std::string& name) {
  fail("{} is corrupt, or was cut short: it can't be unpacked", name);
}

/// Takes what is unpacked. The most that DEFLATE can pack anything is 1032 times; a file that
/// unpacks to more, for its size, was made to fill a memory.
class Unpacked {
 public:
  Unpacked(std::size_t packed, const std::string& name)
      : most_(kMostTimes * packed + kPiece), name_(name) {}

  void add(const char* bytes, std::size_t size) {
    if (size > most_ - text_.size()) {
      fail("{} unpacks to over {} times its size, so it is no text", name_, kMostTimes);
    }
    text_.append(bytes, size);
  }
  std::string take() { return std::move(text_); }

  static constexpr std::size_t kPiece = std::size_t{256} << 10;

 private:
  static constexpr std::size_t kMostTimes = 1032;

  std::size_t most_;
  std::string name_, text_;
};

void unpack_gzip(std::span<const std::byte> file, Unpacked& out, const std::string& name) {
  constexpr int kGzipOnly = 16;
  z_stream stream{};
  if (inflateInit2(&stream, MAX_WBITS + kGzipOnly) != Z_OK) fail("no memory to unpack {}", name);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> owner(&stream, &inflateEnd);
  std::string piece(Unpacked::kPiece, '\0');
  int status = Z_OK;
  while (!file.empty() || status != Z_STREAM_END) {
    if (status == Z_STREAM_END && inflateReset(&stream) != Z_OK) fail_corrupt(name);
    const auto given =
        static_cast<uInt>(std::min<std::size_t>(file.size(), std::numeric_limits<uInt>::max()));
    // zlib does not write through this pointer.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(file.data()));
    stream.avail_in = given;
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    status = inflate(&stream, Z_NO_FLUSH);
    // Z_BUF_ERROR, that it can't go on, means here that the input ended.
    if (status != Z_OK && status != Z_STREAM_END) fail_corrupt(name);
    out.add(piece.data(), piece.size() - stream.avail_out);
    file = file.subspan(given - stream.avail_in);
  }
}

void unpack_zstd(std::span<const std::byte> file, Unpacked& out, const std::string& name) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          &ZSTD_freeDStream);
  if (!stream) fail("no memory to unpack {}", name);
  std::string piece(Unpacked::kPiece, '\0');
  ZSTD_inBuffer input{file.data(), file.size(), 0};
  std::size_t left = 1;  // 0 where a frame ended
  while (input.pos < input.size || left != 0) {
    const std::size_t before = input.pos;
    ZSTD_outBuffer output{piece.data(), piece.size(), 0};
    left = ZSTD_decompressStream(stream.get(), &output, &input);
    const bool is_stuck = input.pos == before && output.pos == 0;
    if (ZSTD_isError(left) != 0 || is_stuck) fail_corrupt(name);
    out.add(piece.data(), output.pos);
  }
}

}  // namespace

bool is_packed(std::span<const std::byte> file) {
  return begins_with(file, kGzip) || begins_with(file, kZstd);
}

std::string unpack(std::span<const std::byte> file, const std::string& name) {
  Unpacked out(file.size(), name);
  begins_with(file, kGzip) ? unpack_gzip(file, out, name) : unpack_zstd(file, out, name);
  return out.take();
}

}  // namespace cllm::data
