#include <fmt/format.h>

#include <chrono>
#include <numeric>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/data/builtin_corpus.h"
#include "cllm/data/dataset.h"
#include "text_source.h"

namespace cllm::data {
namespace {

namespace fs = std::filesystem;

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

/// Passes messages on, those about how far something is at most once a second.
class Reporter {
 public:
  explicit Reporter(const Progress& progress) : progress_(progress) {}

  void say(const std::string& message) const {
    if (progress_) progress_(message);
  }
  void fraction(std::string_view what, std::size_t done, std::size_t all) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::seconds(1)) return;
    last_ = now;
    say(fmt::format("{}: {} %", what, 100 * done / all));
  }

 private:
  const Progress& progress_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::string short_digest(std::string_view hex) { return std::string(hex.substr(0, 16)); }

/// nanoGPT's convention for a data set's directory.
DataOptions with_nanogpt_directory(DataOptions options) {
  const fs::path directory = options.data;
  std::error_code ignored;
  const bool both = fs::is_regular_file(directory / "train.bin", ignored) &&
                    fs::is_regular_file(directory / "val.bin", ignored);
  if (!both) return options;
  options.data = (directory / "train.bin").string();
  if (options.validation.empty()) options.validation = (directory / "val.bin").string();
  return options;
}

bool is_builtin(const DataOptions& options) { return options.data == "builtin"; }

bool names_token_file(const std::string& path) {
  std::error_code ignored;
  return !fs::is_directory(path, ignored) && is_token_file(path);
}

/// Raw bytes are accepted only where they were asked for, so that a compressed file given by
/// mistake is not trained on as if it were text.
bool wants_bytes(const DataOptions& options) {
  return options.tokenizer && options.tokenizer->kind == TokenizerSpec::Kind::bytes;
}

TextSource open_text(const DataOptions& options) {
  if (!is_builtin(options)) return TextSource(options.data, wants_bytes(options));
  return TextSource(generate_builtin_corpus(options.builtin_seed, options.builtin_bytes).text);
}

/// The tokenizer for a text. A trained one is kept in the cache, under the digest of what it was
/// trained on; but nothing of the built-in corpus is.
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
      options.cache / fmt::format("{}-{}-{}.model", short_digest(digest),
                                  spec.kind == TokenizerSpec::Kind::bpe ? "bpe" : "unigram",
                                  spec.vocabulary);
  if (fs::exists(path)) {
    try {
      TokenizerPtr cached = build_tokenizer({TokenizerSpec::Kind::file, 0, path}, {});
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

void encode_to_file(std::string_view text, const Tokenizer& tokenizer, int threads,
                    const fs::path& path, std::string_view what, Reporter& reporter) {
  write_token_file(path, tokenizer, text.size(), [&](const AppendTokens& append) {
    std::size_t done = 0;
    encode_parallel(tokenizer, text, threads,
                    [&](std::span<const std::uint32_t> tokens, std::size_t bytes) {
                      append(tokens);
                      done += bytes;
                      reporter.fraction(what, done, text.size());
                    });
  });
}

PreparedPart part_of(const TokenFile& file, const fs::path& path) {
  return {path.string(), 0, file.tokens().size(), file.info().source_bytes, file.token_digest()};
}

PreparedPart prepare_text(std::string_view text, const Tokenizer& tokenizer,
                          const DataOptions& options, std::string_view what, Reporter& reporter) {
  const std::string digest = digest_hex(std::as_bytes(std::span(text)));
  const std::string tokenizer_digest = tokenizer.digest();
  const fs::path path = options.cache / fmt::format("{}-{}.tokens", short_digest(digest),
                                                    short_digest(tokenizer_digest));
  if (fs::exists(path)) {
    try {
      const TokenFile file = TokenFile::open(path, TokenFile::Check::digests);
      if (file.info().tokenizer_digest == tokenizer_digest &&
          file.info().source_bytes == text.size()) {
        reporter.say(
            fmt::format("{}: {} tokens, cached in {}", what, file.tokens().size(), path.string()));
        return part_of(file, path);
      }
    } catch (const Error&) {
      reporter.say(fmt::format("{} is damaged and is made anew", path.string()));
    }
  }
  make_directories(options.cache);
  encode_to_file(text, tokenizer, options.threads, path, fmt::format("encoding the {}", what),
                 reporter);
  const TokenFile file = TokenFile::open(path);
  reporter.say(
      fmt::format("{}: {} tokens, written to {}", what, file.tokens().size(), path.string()));
  return part_of(file, path);
}

PreparedPart prepare_builtin(std::string_view text, const Tokenizer& tokenizer, int threads) {
  Digest digest;
  PreparedPart part;
  encode_parallel(tokenizer, text, threads,
                  [&](std::span<const std::uint32_t> tokens, std::size_t) {
                    digest.update(std::as_bytes(tokens));
                    part.count += tokens.size();
                  });
  part.source_bytes = text.size();
  part.token_digest = digest.hex();
  return part;
}

/// The tokenizer of a token file: the one it carries, or one given for a file that carries none.
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

std::uint64_t decoded_bytes(TokenView tokens, const Tokenizer& tokenizer) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) bytes += tokenizer.token_bytes(tokens[i]).size();
  return bytes;
}

/// The validation file of `options`, with the tokens of `tokenizer`.
PreparedPart prepare_validation(const DataOptions& options, const Tokenizer* tokenizer,
                                std::uint64_t vocabulary, Reporter& reporter) {
  const std::string& path = options.validation;
  if (!names_token_file(path)) {
    if (tokenizer == nullptr) {
      fail(
          "{} is text, but the tokens of {} are of an unknown tokenizer: give a token file to "
          "validate with",
          path, options.data);
    }
    const TextSource source(path, wants_bytes(options));
    return prepare_text(source.text(), *tokenizer, options, "validation part", reporter);
  }
  const TokenFile file = TokenFile::open(path);
  const TokenFileInfo& info = file.info();
  const bool other = tokenizer != nullptr && !info.tokenizer_digest.empty() &&
                     info.tokenizer_digest != tokenizer->digest();
  if (other || (!info.tokenizer_digest.empty() && info.vocabulary != vocabulary)) {
    fail("{} was made with another tokenizer than {}: make both with the same", path, options.data);
  }
  file.tokens().require_below(vocabulary, path);
  PreparedPart part = part_of(file, path);
  if (part.source_bytes == 0 && tokenizer != nullptr) {
    part.source_bytes = decoded_bytes(file.tokens(), *tokenizer);
  }
  return part;
}

void describe(const Tokenizer& tokenizer, PreparedData& prepared) {
  prepared.tokenizer_kind = tokenizer.kind();
  prepared.tokenizer_blob = tokenizer.blob();
  prepared.vocabulary = tokenizer.vocabulary();
}

PreparedData prepare_from_text(const DataOptions& options, Reporter& reporter) {
  PreparedData prepared;
  const TextSource source = open_text(options);
  TextSplit split{source.text(), {}};
  if (options.validation.empty() || is_builtin(options)) split = split_text(source.text());
  if (split.train.empty()) {
    fail("--data {}: its training part, all but the last tenth, is empty; give more text",
         options.data);
  }
  const TokenizerPtr tokenizer = tokenizer_for_text(options, split.train, reporter);
  describe(*tokenizer, prepared);
  const auto prepare = [&](std::string_view text, std::string_view what) {
    return is_builtin(options) ? prepare_builtin(text, *tokenizer, options.threads)
                               : prepare_text(text, *tokenizer, options, what, reporter);
  };
  prepared.train = prepare(split.train, "training part");
  prepared.validation =
      options.validation.empty()
          ? prepare(split.validation, "validation part")
          : prepare_validation(options, tokenizer.get(), prepared.vocabulary, reporter);
  if (is_builtin(options)) {
    prepared.builtin_seed = options.builtin_seed;
    prepared.builtin_bytes = options.builtin_bytes;
  }
  return prepared;
}

PreparedData prepare_from_tokens(const DataOptions& options, Reporter& reporter) {
  PreparedData prepared;
  const TokenFile file = TokenFile::open(options.data, TokenFile::Check::digests);
  const TokenizerPtr tokenizer = tokenizer_for_tokens(options, file.info());
  prepared.vocabulary = file.info().vocabulary;
  if (tokenizer) {
    describe(*tokenizer, prepared);
    file.tokens().require_below(prepared.vocabulary, options.data);
  }
  prepared.train = part_of(file, options.data);
  if (!options.validation.empty()) {
    prepared.validation =
        prepare_validation(options, tokenizer.get(), prepared.vocabulary, reporter);
  } else {
    const std::uint64_t all = prepared.train.count, train = all / 10 * 9 + all % 10 * 9 / 10;
    prepared.train.source_bytes = 0;  // the file's are of both parts
    prepared.validation = prepared.train;
    prepared.train.count = prepared.validation.first = train;
    prepared.validation.count = all - train;
    if (tokenizer) {
      prepared.validation.source_bytes =
          decoded_bytes(file.tokens().subview(train, all - train), *tokenizer);
    }
  }
  if (tokenizer && prepared.train.source_bytes == 0) {
    prepared.train.source_bytes =
        decoded_bytes(file.tokens().subview(0, prepared.train.count), *tokenizer);
  }
  return prepared;
}

}  // namespace

PreparedData prepare_data(const DataOptions& given, const Progress& progress) {
  const DataOptions options = is_builtin(given) ? given : with_nanogpt_directory(given);
  Reporter reporter(progress);
  PreparedData prepared = !is_builtin(options) && names_token_file(options.data)
                              ? prepare_from_tokens(options, reporter)
                              : prepare_from_text(options, reporter);
  if (prepared.train.count < options.context + 1) {
    fail(
        "--data {}: the training part has {} tokens, but --context {} needs at least {}: give more "
        "data or a shorter context",
        options.data, prepared.train.count, options.context, options.context + 1);
  }
  if (prepared.validation.count < 2) {
    fail(
        "--data {}: the validation part has {} tokens, but needs at least 2: give more data, or a "
        "validation file",
        options.validation.empty() ? options.data : options.validation, prepared.validation.count);
  }
  return prepared;
}

void tokenize_data(const DataOptions& options, const fs::path& out, const Progress& progress) {
  if (!is_builtin(options) && names_token_file(options.data)) {
    fail("{} holds tokens already: give text to tokenize", options.data);
  }
  Reporter reporter(progress);
  const TextSource source = open_text(options);
  const TokenizerPtr tokenizer =
      tokenizer_for_text(options, split_text(source.text()).train, reporter);
  encode_to_file(source.text(), *tokenizer, options.threads, out, "encoding", reporter);
}

}  // namespace cllm::data
