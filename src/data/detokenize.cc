#include "cllm/base/error.h"
#include "cllm/data/dataset.h"

namespace cllm::data {
namespace {

/// The tokenizer that a file carries, or that is given for one that carries none.
std::unique_ptr<Tokenizer> tokenizer_of(const TokenFileInfo& info, const std::string& path,
                                        const std::optional<TokenizerSpec>& given) {
  std::unique_ptr<Tokenizer> carried, other;
  if (!info.tokenizer_kind.empty()) {
    carried = make_tokenizer(info.tokenizer_kind, info.tokenizer_blob);
  }
  if (!given && carried) return carried;
  if (!given) {
    fail("{} ({}) carries no tokenizer: say with --tokenizer what its tokens are", path,
         format_text(info));
  }
  if (given->is_trained()) {
    fail("--tokenizer {} would be a new one: give the file that the tokens were made with",
         to_string(*given));
  }
  other = build_tokenizer(*given, {});
  if (carried && carried->digest() != other->digest()) {
    fail("{} was made with another tokenizer than --tokenizer {}: leave the option out", path,
         to_string(*given));
  }
  return other;
}

}  // namespace

Detokenized detokenize(const std::string& path, const std::optional<TokenizerSpec>& tokenizer,
                       const std::function<void(std::string_view)>& sink) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  if (!is_token_file(path)) fail("{} is no token file: it is text already", path);
  const TokenFile file = TokenFile::open(path, TokenFile::Check::digests);
  const auto known = tokenizer_of(file.info(), path, tokenizer);
  Detokenized result;
  std::string text;
  const TokenView tokens = file.tokens();
  tokens.for_each(0, tokens.size(), [&](std::size_t, std::uint32_t token) {
    const std::string_view bytes = known->token_bytes(token);
    result.specials += bytes.empty() ? 1 : 0;
    result.bytes += bytes.size();
    text += bytes;
    if (text.size() < kPiece) return;
    sink(text);
    text.clear();
  });
  sink(text);
  return result;
}

}  // namespace cllm::data
