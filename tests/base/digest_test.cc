#include "cllm/base/digest.h"

#include <gtest/gtest.h>

#include <string>

namespace cllm {
namespace {

// The digest of nothing is the one that xxHash's specification gives for XXH3-128 with seed 0.
TEST(Digest, OfNothingIsTheKnownOne) {
  EXPECT_EQ(digest_hex({}), "99aa06d3014798d86001c324468d497f");
}

TEST(Digest, PiecesGiveTheDigestOfTheWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 37 % 251);
  Digest digest;
  digest.update(std::string_view(text).substr(0, 1));
  digest.update(std::string_view(text).substr(1, 3000));
  digest.update(std::string_view(text).substr(3001));
  EXPECT_EQ(digest.hex(), digest_hex(std::as_bytes(std::span(text))));
  text[4321] ^= 1;
  EXPECT_NE(digest.hex(), digest_hex(std::as_bytes(std::span(text))));
}

}  // namespace
}  // namespace cllm
