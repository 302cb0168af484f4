#include <fmt/format.h>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/data/builtin/builtin_corpus.h"
#include "cllm/data/dataset.h"
#include "preparing.h"
#include "text_source.h"
#include "token_survey.h"

namespace cllm::data {
namespace {

namespace fs = std::filesystem;

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

/// Throws Error where a separator was given for what has none.
void require_separable(const DataOptions& options) {
  if (options.document_separator.empty()) return;
  if (is_builtin(options) || names_token_file(options.data)) {
    fail("--document-separator: {} is no text that it could stand in; leave the option out",
         options.data);
  }
}

/// Returns the bytes that are lost.
std::uint64_t encode_to_file(const MarkedText& text, const Tokenizer& tokenizer, int threads,
                             const fs::path& path, std::string_view what, Reporter& reporter) {
  std::optional<std::uint64_t> lost;
  TokenMarks marks;
  const auto produce = [&](const AppendTokens& append) {
    std::size_t done = 0;
    lost = encode_parallel(
        tokenizer, text, threads,
        [&](std::span<const std::uint32_t> tokens, std::size_t bytes) {
          append(tokens);
          done += bytes;
          reporter.fraction(what, done, text.text.size());
        },
        &marks);
    if (lost == 0 && tokenizer.lossless()) lost.reset();  // it never loses any
  };
  write_token_file(path, tokenizer, bytes_of(text, tokenizer), produce, lost, marks);
  return lost.value_or(0);
}

PreparedPart part_of(const TokenFile& file, const fs::path& path, const std::string& digest) {
  return {.path = path.string(),
          .count = file.tokens().size(),
          .source_bytes = file.info().source_bytes,
          .token_digest = digest,
          .format = format_text(file.info()),
          .marks_digest = file.info().marks_digest};
}

/// What of a part counts, where not all does: tokens, and bytes that they came from.
void count_targets(const TokenFile& file, std::uint64_t bytes, PreparedPart& part) {
  const TokenMask mask(file.counted());
  if (mask.empty()) return;
  part.counted = mask.count(part.first, part.first + part.count);
  part.counted_bytes = bytes;
}

/// Of the tokens of a whole text.
PreparedPart text_part(const MarkedText& text, const TokenFile& file, const fs::path& path,
                       const std::string& digest) {
  PreparedPart part = part_of(file, path, digest);
  part.is_one_document = text.cuts && count_documents(text) == 1;
  count_targets(file, file.info().counted_bytes, part);
  return part;
}

/// Whether a cached file, perhaps of an earlier version, says of documents what the text has.
bool tells_documents(const TokenFile& file, const MarkedText& text) {
  const bool has_many = text.cuts && count_documents(text) > 1;
  return (file.document_starts().empty() ? !has_many : true) &&
         (counts_wholly(text) || !file.info().marks_digest.empty());
}

/// Reads a file's tokens, once, unless what there is to be found is known; and throws Error where
/// it is not whole.
TokenSurvey look_through(const TokenFile& file, const fs::path& path, const Decoding& decoding,
                         const DataOptions& options, Reporter& reporter) {
  const KnownFile known(options.cache, path);
  if (const std::optional<TokenSurvey> found = known.find(decoding)) {
    require_whole(*found, file, path.string());
    reporter.say(fmt::format("{}: {} tokens, unchanged since they were checked ({})", path.string(),
                             file.tokens().size(), known.path().string()));
    return *found;
  }
  const std::string what = "checking the tokens of " + path.string();
  const TokenSurvey found = survey(file.tokens(), decoding, [&](std::size_t done, std::size_t all) {
    reporter.fraction(what, done, all);
  });
  require_whole(found, file, path.string());
  known.keep(found, decoding);
  return found;
}

/// Where the cache keeps the tokens of a text. Where marks are seen in them, they count; where none
/// is, so do none.
fs::path cached_tokens(const MarkedText& text, const Tokenizer& tokenizer, const fs::path& cache) {
  const bool counts = leaves_marks(text, tokenizer);
  const std::string digest =
      counts ? digest_of(text) : digest_hex(std::as_bytes(std::span(text.text)));
  return cache / fmt::format("{}-{}{}.tokens", short_digest(digest),
                             short_digest(tokenizer.digest()), counts ? "-documents" : "");
}

/// The tokens of a text that the cache holds, made now or before.
PreparedPart prepare_text(const MarkedText& text, const Tokenizer& tokenizer,
                          const DataOptions& options, std::string_view what, Reporter& reporter) {
  const fs::path path = cached_tokens(text, tokenizer, options.cache);
  if (fs::exists(path)) {
    try {
      const TokenFile file = TokenFile::open(path, TokenFile::Check::header);
      const bool tells_loss = file.info().lost_bytes || tokenizer.lossless();
      if (file.info().tokenizer_digest == tokenizer.digest() &&
          file.info().source_bytes == bytes_of(text, tokenizer) && tells_loss &&
          tells_documents(file, text)) {
        const TokenSurvey found = look_through(file, path, {}, options, reporter);
        reporter.say(
            fmt::format("{}: {} tokens, cached in {}", what, file.tokens().size(), path.string()));
        reporter.loss(what, file.info());
        return text_part(text, file, path, found.digest);
      }
    } catch (const Error&) {
      reporter.say(fmt::format("{} is damaged and is made anew", path.string()));
    }
  }
  make_directories(options.cache);
  encode_to_file(text, tokenizer, options.threads, path, fmt::format("encoding the {}", what),
                 reporter);
  const TokenFile file = TokenFile::open(path, TokenFile::Check::header);
  reporter.say(
      fmt::format("{}: {} tokens, written to {}", what, file.tokens().size(), path.string()));
  reporter.loss(what, file.info());
  return text_part(text, file, path, file.info().token_digest);
}

PreparedPart prepare_builtin(std::string_view text, const Tokenizer& tokenizer, int threads,
                             std::string_view what, const Reporter& reporter) {
  Digest digest;
  PreparedPart part;
  const std::uint64_t lost = encode_parallel(
      tokenizer, text, threads, [&](std::span<const std::uint32_t> tokens, std::size_t) {
        digest.update(std::as_bytes(tokens));
        part.count += tokens.size();
      });
  reporter.loss(what, lost, text.size());
  part.source_bytes = text.size();
  part.token_digest = digest.hex();
  return part;
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
    const TextSource source(path, reading_of(options));
    for (const std::string& note : source.notes()) reporter.note(note);
    source.require_tokens(*tokenizer);
    PreparedPart part =
        prepare_text(source.marked(), *tokenizer, options, "validation part", reporter);
    part.format = source.format();
    return part;
  }
  const TokenFile file = TokenFile::open(path, TokenFile::Check::header);
  const TokenFileInfo& info = file.info();
  const bool other = tokenizer != nullptr && !info.tokenizer_digest.empty() &&
                     info.tokenizer_digest != tokenizer->digest();
  if (other || (!info.tokenizer_digest.empty() && info.vocabulary != vocabulary)) {
    fail("{} was made with another tokenizer than {}: make both with the same", path, options.data);
  }
  reporter.loss(path, info);
  const Decoding decoding{info.source_bytes == 0 ? tokenizer : nullptr, file.tokens().size()};
  const TokenSurvey found = look_through(file, path, decoding, options, reporter);
  if (found.largest >= vocabulary) file.tokens().require_below(vocabulary, path);
  PreparedPart part = part_of(file, path, found.digest);
  if (part.source_bytes == 0) part.source_bytes = found.bytes_before;
  count_targets(file, info.counted_bytes, part);
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
  for (const std::string& note : source.notes()) reporter.note(note);
  TextSplit split{source.marked(), {}};
  if (options.validation.empty() || is_builtin(options)) {
    split = split_text(source.marked(), options.text_rules);
  }
  if (split.train.text.empty()) {
    fail("--data {}: its training part, all but the last tenth, is empty; give more text",
         options.data);
  }
  const TokenizerPtr tokenizer = tokenizer_for_source(options, source, split, reporter);
  describe(*tokenizer, prepared);
  const auto prepare = [&](const MarkedText& text, std::string_view what) {
    PreparedPart part =
        is_builtin(options)
            ? prepare_builtin(text.text, *tokenizer, options.threads, what, reporter)
            : prepare_text(text, *tokenizer, options, what, reporter);
    part.format = is_builtin(options) ? "generated" : source.format();
    return part;
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
  const TokenFile file = TokenFile::open(options.data, TokenFile::Check::header);
  const TokenFileInfo& info = file.info();
  const TokenizerPtr tokenizer = tokenizer_for_tokens(options, info);
  reporter.loss(options.data, info);
  prepared.vocabulary = info.vocabulary;
  if (tokenizer) describe(*tokenizer, prepared);
  const bool is_split = options.validation.empty();
  const std::uint64_t all = file.tokens().size();
  const std::uint64_t train = is_split ? all / 10 * 9 + all % 10 * 9 / 10 : all;
  const bool is_counted = is_split || info.source_bytes == 0;  // a header's are of all tokens
  const TokenSurvey found =
      look_through(file, options.data,
                   {is_counted ? tokenizer.get() : nullptr, train, TokenMask(file.counted())},
                   options, reporter);
  if (found.largest >= prepared.vocabulary) {
    file.tokens().require_below(prepared.vocabulary, options.data);
  }
  prepared.train = part_of(file, options.data, found.digest);
  if (is_counted) prepared.train.source_bytes = found.bytes_before;
  if (is_split) {
    prepared.validation = prepared.train;
    prepared.validation.source_bytes = found.bytes_after;
    prepared.train.count = prepared.validation.first = train;
    prepared.validation.count = all - train;
    count_targets(file, found.counted_before, prepared.train);
    count_targets(file, found.counted_after, prepared.validation);
  } else {
    count_targets(file, info.counted_bytes, prepared.train);
    prepared.validation =
        prepare_validation(options, tokenizer.get(), prepared.vocabulary, reporter);
  }
  return prepared;
}

}  // namespace

PreparedData prepare_data(const DataOptions& given, const Progress& progress) {
  const DataOptions options = is_builtin(given) ? given : with_nanogpt_directory(given);
  require_separable(options);
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
  require_separable(options);
  Reporter reporter(progress);
  const TextSource source = open_text(options);
  for (const std::string& note : source.notes()) reporter.note(note);
  const TokenizerPtr tokenizer =
      tokenizer_for_source(options, source, split_text(source.marked()), reporter);
  const std::uint64_t lost =
      encode_to_file(source.marked(), *tokenizer, options.threads, out, "encoding", reporter);
  reporter.loss(options.data, lost, bytes_of(source.marked(), *tokenizer));
}

}  // namespace cllm::data
