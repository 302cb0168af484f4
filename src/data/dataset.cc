#include "cllm/data/dataset.h"

#include <nlohmann/json.hpp>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/data/builtin/builtin_corpus.h"
#include "text_source.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;

Json to_json(const PreparedPart& part) {
  return {{"path", part.path},
          {"first", part.first},
          {"count", part.count},
          {"source_bytes", part.source_bytes},
          {"token_digest", part.token_digest},
          {"format", part.format},
          {"marks_digest", part.marks_digest},
          {"is_one_document", part.is_one_document},
          {"counted", part.counted},
          {"counted_bytes", part.counted_bytes}};
}

PreparedPart part_from(const Json& json) {
  return {.path = json.at("path"),
          .first = json.at("first"),
          .count = json.at("count"),
          .source_bytes = json.at("source_bytes"),
          .token_digest = json.at("token_digest"),
          .format = json.at("format"),
          .marks_digest = json.at("marks_digest"),
          .is_one_document = json.at("is_one_document"),
          .counted = json.at("counted"),
          .counted_bytes = json.at("counted_bytes")};
}

DataPart in_memory(const MarkedText& text, const Tokenizer& tokenizer, int threads,
                   const std::string& format) {
  std::vector<std::uint32_t> tokens;
  TokenMarks marks;
  const std::uint64_t lost = encode_parallel(
      tokenizer, text, threads,
      [&](std::span<const std::uint32_t> some, std::size_t) {
        tokens.insert(tokens.end(), some.begin(), some.end());
      },
      &marks);
  const std::uint64_t bytes = bytes_of(text, tokenizer);
  auto file = std::make_shared<const TokenFile>(
      TokenFile::in_memory(std::move(tokens), tokenizer, bytes, std::move(marks)));
  DataPart part{.file = file,
                .tokens = file->tokens(),
                .source_bytes = bytes,
                .lost_bytes = lost,
                .format = format,
                .is_one_document = text.cuts && count_documents(text) == 1,
                .counted_bytes = file->info().counted_bytes};
  if (!part.mask().empty()) part.counted = part.mask().count(0, part.tokens.size());
  return part;
}

/// A file whose tokens were read when it was prepared: here that would be a pass too many.
TokenFile open_checked(const std::string& path) {
  return TokenFile::open(path, TokenFile::Check::header);
}

DataPart part_of(std::shared_ptr<const TokenFile> file, const PreparedPart& part,
                 std::uint64_t vocabulary) {
  const TokenView all = file->tokens();
  const std::string& stored = file->info().token_digest;
  if (part.first > all.size() || part.count > all.size() - part.first ||
      (!stored.empty() && stored != part.token_digest) ||
      file->info().marks_digest != part.marks_digest) {
    fail("{} is not the file that was prepared: it changed, or this node sees another file system",
         part.path);
  }
  return {.file = std::move(file),
          .tokens = all.subview(part.first, part.count).bounded(vocabulary),
          .source_bytes = part.source_bytes,
          .format = part.format,
          .first = part.first,
          .is_one_document = part.is_one_document,
          .counted = part.counted,
          .counted_bytes = part.counted_bytes};
}

DataPart predictable(DataPart part, const std::string& path) {
  if (part.tokens.size() < 2) {
    fail("{} has {} token{}, and there is nothing to predict before the second; give more text",
         path, part.tokens.size(), part.tokens.size() == 1 ? "" : "s");
  }
  return part;
}

}  // namespace

std::string PreparedData::digest() const {
  Digest digest;
  for (const PreparedPart* part : {&train, &validation}) {
    digest.update(fmt::format("{} {} {}\n", part->token_digest, part->first, part->count));
  }
  return digest.hex();
}

std::string PreparedData::serialize() const {
  const Json json = {
      {"train", to_json(train)},
      {"validation", to_json(validation)},
      {"vocabulary", vocabulary},
      {"tokenizer_kind", tokenizer_kind},
      {"tokenizer_blob", Json::binary({tokenizer_blob.begin(), tokenizer_blob.end()})},
      {"builtin_seed", builtin_seed},
      {"builtin_bytes", builtin_bytes}};
  const std::vector<std::uint8_t> bytes = Json::to_cbor(json);
  return {bytes.begin(), bytes.end()};
}

PreparedData PreparedData::parse(std::string_view bytes) {
  try {
    const Json json = Json::from_cbor(bytes);
    const auto& blob = json.at("tokenizer_blob").get_binary();
    return {
        part_from(json.at("train")), part_from(json.at("validation")),      json.at("vocabulary"),
        json.at("tokenizer_kind"),   std::string(blob.begin(), blob.end()), json.at("builtin_seed"),
        json.at("builtin_bytes")};
  } catch (const Json::exception& error) {
    fail("the description of the prepared data is corrupt: {}", error.what());
  }
}

Documents DataPart::documents() const {
  const std::span<const std::uint64_t> starts = file->document_starts();
  if (starts.empty() && !is_one_document) return {};
  return Documents(starts, first, tokens.size());
}

TokenMask DataPart::mask() const { return TokenMask(file->counted(), first); }

std::optional<double> DataPart::bytes_per_counted_token() const {
  if (mask().empty()) return bytes_per_token();
  if (counted_bytes == 0 || counted == 0) return {};
  return static_cast<double>(counted_bytes) / static_cast<double>(counted);
}

std::optional<double> DataPart::bytes_per_token() const {
  if (source_bytes == 0 || tokens.size() == 0) return {};
  return static_cast<double>(source_bytes) / static_cast<double>(tokens.size());
}

Dataset open_dataset(const PreparedData& prepared, int threads) {
  Dataset dataset;
  dataset.vocabulary = prepared.vocabulary;
  if (!prepared.tokenizer_kind.empty()) {
    dataset.tokenizer = make_tokenizer(prepared.tokenizer_kind, prepared.tokenizer_blob);
  }
  const PreparedPart &train = prepared.train, &validation = prepared.validation;
  if (train.path.empty()) {
    const std::string text =
        generate_builtin_corpus(prepared.builtin_seed, prepared.builtin_bytes).text;
    const TextSplit split = split_text({text});
    dataset.train = in_memory(split.train, *dataset.tokenizer, threads, train.format);
    if (validation.path.empty()) {
      dataset.validation =
          in_memory(split.validation, *dataset.tokenizer, threads, validation.format);
    }
  } else {
    dataset.train = part_of(std::make_shared<const TokenFile>(open_checked(train.path)), train,
                            prepared.vocabulary);
  }
  if (!validation.path.empty()) {
    auto file = validation.path == train.path
                    ? dataset.train.file
                    : std::make_shared<const TokenFile>(open_checked(validation.path));
    dataset.validation = part_of(std::move(file), validation, prepared.vocabulary);
  }
  return dataset;
}

DataPart load_part(const std::string& path, const Tokenizer* tokenizer, std::uint64_t vocabulary,
                   int threads, const TextReading& reading) {
  if (std::filesystem::is_directory(path) || !is_token_file(path)) {
    if (tokenizer == nullptr) {
      fail("{} is text, and the model has no tokenizer: give a token file", path);
    }
    const TextSource source(path, reading);
    source.require_tokens(*tokenizer);
    return predictable(in_memory(source.marked(), *tokenizer, threads, source.format()), path);
  }
  auto file = std::make_shared<const TokenFile>(TokenFile::open(path, TokenFile::Check::header));
  const TokenFileInfo& info = file->info();
  if (tokenizer != nullptr && !info.tokenizer_digest.empty() &&
      info.tokenizer_digest != tokenizer->digest()) {
    fail("{} was made with another tokenizer than the model's: give the text itself", path);
  }
  const TokenView tokens = file->tokens();
  tokens.require_below(std::min(vocabulary, info.vocabulary), path);
  file->require_marks(path);
  DataPart part{.file = file,
                .tokens = tokens,
                .source_bytes = info.source_bytes,
                .lost_bytes = info.lost_bytes.value_or(0),
                .format = format_text(info),
                .counted_bytes = info.counted_bytes};
  if (!part.mask().empty()) part.counted = part.mask().count(0, tokens.size());
  return predictable(std::move(part), path);
}

}  // namespace cllm::data
