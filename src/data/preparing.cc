#include "preparing.h"

#include <fmt/format.h>

#include <filesystem>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/data/builtin/builtin_corpus.h"

namespace cllm::data {

namespace fs = std::filesystem;

namespace {

/// Raw bytes are accepted only where they were asked for, so that a compressed file given by
/// mistake is not trained on as if it were text.
bool wants_bytes(const DataOptions& options) {
  return options.tokenizer && options.tokenizer->kind == TokenizerSpec::Kind::bytes;
}

}  // namespace

std::string short_digest(std::string_view hex) { return std::string(hex.substr(0, 16)); }

bool names_token_file(const std::string& path) {
  std::error_code ignored;
  return !fs::is_directory(path, ignored) && is_token_file(path);
}

TextReading reading_of(const DataOptions& options) {
  return {wants_bytes(options), options.text_rules, options.document_separator};
}

TextSource open_text(const DataOptions& options) {
  if (!is_builtin(options)) {
    return TextSource(options.data, reading_of(options));
  }
  return TextSource(generate_builtin_corpus(options.builtin_seed, options.builtin_bytes).text);
}

TokenizerPtr tokenizer_for_text(const DataOptions& options, std::string_view training_text,
                                Reporter& reporter) {
  if (options.known_tokenizer) return options.known_tokenizer;
  const TokenizerSpec spec = options.tokenizer.value_or(TokenizerSpec{});
  if (!spec.is_trained()) return build_tokenizer(spec, training_text);
  const std::string training =
      fmt::format("training the tokenizer {} on {} bytes of text", to_string(spec),
                  std::min(training_text.size(), kMaxTrainingText));
  if (is_builtin(options)) {
    reporter.say(training);
    return build_tokenizer(spec, training_text);
  }
  const std::string digest = digest_hex(std::as_bytes(std::span(training_text)));
  const fs::path path =
      options.cache / fmt::format("{}-{}-{}-{}.model", short_digest(digest),
                                  spec.kind == TokenizerSpec::Kind::bpe ? "bpe" : "unigram",
                                  spec.vocabulary,
                                  spec.specials == SpecialTokens::kChatMl ? "chatml" : "endoftext");
  if (fs::exists(path)) {
    try {
      TokenizerPtr cached = build_tokenizer({.kind = TokenizerSpec::Kind::file, .file = path}, {});
      if (cached->vocabulary() == spec.vocabulary) {
        reporter.say(fmt::format("tokenizer {}: cached in {}", to_string(spec), path.string()));
        return cached;
      }
    } catch (const Error&) {
      // A damaged cache is no reason to stop: what it held can be made again.
    }
  }
  reporter.say(training);
  TokenizerPtr tokenizer = build_tokenizer(spec, training_text);
  make_directories(options.cache);
  const std::string blob = tokenizer->blob();
  write_atomically(path, std::as_bytes(std::span(blob)));
  return tokenizer;
}

TokenizerPtr tokenizer_for_source(const DataOptions& options, const TextSource& source,
                                  const TextSplit& split, Reporter& reporter) {
  if (!options.known_tokenizer) {
    source.require_tokens(options.tokenizer.value_or(TokenizerSpec{}));
  }
  TokenizerPtr tokenizer = tokenizer_for_text(options, split.train.text, reporter);
  source.require_tokens(*tokenizer);
  return tokenizer;
}

TokenizerPtr tokenizer_for_tokens(const DataOptions& options, const TokenFileInfo& info) {
  TokenizerPtr carried, given;
  if (!info.tokenizer_kind.empty()) {
    carried = make_tokenizer(info.tokenizer_kind, info.tokenizer_blob);
    if (carried->vocabulary() != info.vocabulary) {
      fail("{} is corrupt: its vocabulary is {}, but its tokenizer's {}", options.data,
           info.vocabulary, carried->vocabulary());
    }
  }
  if (options.known_tokenizer) {
    if (carried && carried->digest() != options.known_tokenizer->digest()) {
      fail("{} was made with another tokenizer than the run's: give the text itself", options.data);
    }
    return options.known_tokenizer;
  }
  if (!options.tokenizer) return carried;
  if (options.tokenizer->is_trained()) {
    fail(
        "{} holds tokens already, so --tokenizer {} cannot be trained on it: leave the option out, "
        "or give the text",
        options.data, to_string(*options.tokenizer));
  }
  given = build_tokenizer(*options.tokenizer, {});
  if (carried && carried->digest() != given->digest()) {
    fail("{} was made with another tokenizer than --tokenizer {}: leave the option out",
         options.data, to_string(*options.tokenizer));
  }
  return given;
}

}  // namespace cllm::data
