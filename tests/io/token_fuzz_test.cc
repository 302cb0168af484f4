#include <algorithm>
#include <cstring>

#include "cllm/base/file.h"
#include "cllm/data/token_file.h"
#include "fuzz_fixture.h"
#include "mutations.h"

namespace cllm::io {
namespace {

using data::TokenFile;

/// A token file of each format that has tokens of its own; the header of llm.c's is 1024 bytes.
class TokenFuzzTest : public FuzzTest {
 protected:
  /// Opens the file. `intact`: whether what is read is what it should be.
  std::string judge(const std::function<bool(const TokenFile&)>& intact) const {
    std::string complaint;
    reads(path_, complaint, [&] {
      const TokenFile file = TokenFile::open(path_, TokenFile::Check::digests);
      if (!intact(file)) complaint += "other tokens than the file's; ";
      for (std::size_t i = 0; i < file.tokens().size(); ++i) {
        if (file.tokens()[i] >= file.info().vocabulary) complaint += "a token out of range; ";
      }
    });
    return complaint;
  }

  void fuzz_bytes(std::uint64_t stream, const std::string& whole,
                  const std::function<bool(const TokenFile&)>& intact) const {
    const auto judge_it = [&] { return judge(intact); };
    for (std::size_t size = 0; size < whole.size(); size += 4096) {
      write(whole.substr(0, size));
      EXPECT_EQ(in_a_process(judge_it), "") << size << " bytes";
    }
    const auto spoil = [&](RandomStream& random) {
      std::string bytes = whole;
      // Headers are short; half of the cases are for them.
      if (random.below(2) == 0) {
        std::string header = bytes.substr(0, 128);
        mutate_bytes(header, random);
        bytes.replace(0, 128, header);
      } else {
        mutate_bytes(bytes, random);
      }
      write(bytes);
    };
    fuzz(stream, spoil, judge_it);
  }

  /// Whether the tokens of a format without digests are those that lie in the file.
  bool are_the_files(const TokenFile& file, std::size_t offset) const {
    const std::string bytes = read_file(path_);
    const auto tokens = file.tokens().bytes();
    return bytes.size() - offset == tokens.size() &&
           std::memcmp(bytes.data() + offset, tokens.data(), tokens.size()) == 0;
  }

  static std::string random_tokens(std::size_t count) {
    RandomStream random(1, 0);
    std::string bytes;
    for (std::size_t i = 0; i < count; ++i) {
      const auto token = static_cast<std::uint16_t>(random.below(50257));
      bytes.append(reinterpret_cast<const char*>(&token), sizeof(token));
    }
    return bytes;
  }
};

TEST_F(TokenFuzzTest, Ours) {
  const auto tokenizer = data::make_tokenizer("bytes", "");
  std::vector<std::uint32_t> tokens(10'000);
  RandomStream random(1, 0);
  for (std::uint32_t& token : tokens) token = static_cast<std::uint32_t>(random.below(256));
  data::write_token_file(path_, *tokenizer, tokens.size(),
                         [&](const data::AppendTokens& append) { append(tokens); });
  fuzz_bytes(5, read_file(path_), [&](const TokenFile& file) {
    if (file.info().format != "cllm") return false;
    std::vector<std::uint32_t> found(file.tokens().size());
    file.tokens().copy(0, found.size(), found.data());
    return found == tokens && file.info().tokenizer_kind == "bytes" &&
           file.info().vocabulary == 256 && file.info().source_bytes == tokens.size();
  });
}

TEST_F(TokenFuzzTest, OursWithDocuments) {
  const auto tokenizer = data::make_tokenizer("bytes", "");
  const std::vector<std::uint32_t> tokens(5000, 7);
  data::TokenMarks marks;
  RandomStream random(2, 0);
  while (marks.tokens < tokens.size()) {
    marks.begin_document();
    marks.add(std::min<std::uint64_t>(1 + random.below(40), tokens.size() - marks.tokens), 1,
              random.below(2) == 0);
  }
  data::write_token_file(
      path_, *tokenizer, tokens.size(), [&](const data::AppendTokens& append) { append(tokens); },
      {}, marks);
  fuzz_bytes(8, read_file(path_), [&](const TokenFile& file) {
    return std::ranges::equal(file.document_starts(), marks.documents) &&
           std::ranges::equal(file.counted(), marks.counted);
  });
}

TEST_F(TokenFuzzTest, LlmC) {
  std::string header(1024, '\0');
  const std::int32_t fields[] = {20240520, 1, 10'000};
  std::memcpy(header.data(), fields, sizeof(fields));
  fuzz_bytes(6, header + random_tokens(10'000),
             [&](const TokenFile& file) { return are_the_files(file, 1024); });
}

TEST_F(TokenFuzzTest, NanoGpt) {
  path_ = directory_.path() / "train.bin";
  fuzz_bytes(7, random_tokens(10'000),
             [&](const TokenFile& file) { return are_the_files(file, 0); });
}

}  // namespace
}  // namespace cllm::io
