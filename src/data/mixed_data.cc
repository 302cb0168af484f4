#include "cllm/data/mixed_data.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/data/token_file.h"
#include "preparing.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;

/// Blocks of a text that is too long to train a tokenizer on.
constexpr std::size_t kBlock = std::size_t{1} << 16;

/// The texts one after the other; where that is more than a tokenizer is trained on, of each
/// evenly spread blocks, as many as its share of all.
std::string joined(const std::vector<std::string_view>& texts) {
  std::size_t all = 0;
  for (const std::string_view text : texts) all += text.size();
  std::string result;
  for (const std::string_view text : texts) {
    const double share = static_cast<double>(text.size()) / static_cast<double>(all);
    const auto blocks = static_cast<std::size_t>(share * (kMaxTrainingText / kBlock));
    if (all <= kMaxTrainingText || blocks == 0) {
      result += text;
    } else {
      for (std::size_t i = 0; i < blocks; ++i) {
        result += text.substr(text.size() / blocks * i, kBlock);
      }
    }
    if (!result.empty() && result.back() != '\n') result += '\n';
  }
  return result;
}

void require_different(const std::vector<DataSource>& sources) {
  std::size_t weighted = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    weighted += sources[i].weight > 0 ? 1 : 0;
    for (std::size_t j = 0; j < i; ++j) {
      if (sources[i].path == sources[j].path) {
        fail("--data {}: it is given twice; give it once, with a larger weight", sources[i].path);
      }
    }
  }
  if (weighted != 0 && weighted != sources.size()) {
    fail(
        "--data: some sources have a weight and others none; give PATH:WEIGHT for each, or no "
        "weights");
  }
}

/// One tokenizer for all sources; null where each is a token file that carries none.
TokenizerPtr shared_tokenizer(const std::vector<DataOptions>& each, Reporter& reporter) {
  const DataOptions& common = each.front();
  if (common.known_tokenizer) return common.known_tokenizer;
  std::string text, unknown;  // a source that is text, and one of tokens that nothing is known of
  for (const DataOptions& options : each) {
    if (is_builtin(options) || !names_token_file(options.data)) {
      text = options.data;
      continue;
    }
    const TokenFile file = TokenFile::open(options.data, TokenFile::Check::header);
    if (TokenizerPtr carried = tokenizer_for_tokens(options, file.info())) return carried;
    unknown = options.data;
  }
  if (!unknown.empty() && !text.empty()) {
    fail("{} is text, but the tokens of {} are of an unknown tokenizer: give --tokenizer", text,
         unknown);
  }
  if (text.empty()) return nullptr;
  const TokenizerSpec spec = common.tokenizer.value_or(TokenizerSpec{});
  if (!spec.is_trained()) return build_tokenizer(spec, {});
  std::vector<TextSource> texts;
  std::vector<std::string_view> training;
  for (const DataOptions& options : each) {
    texts.push_back(open_text(options));
    texts.back().require_tokens(spec);
    const MarkedText all = texts.back().marked();
    const bool is_whole = !options.validation.empty() && !is_builtin(options);
    training.push_back(is_whole ? all.text : split_text(all, options.text_rules).train.text);
  }
  DataOptions options = common;
  options.data.clear();
  return tokenizer_for_text(options, joined(training), reporter);
}

}  // namespace

std::string PreparedMixture::digest() const {
  if (sources.size() == 1) return sources.front().digest();
  Digest digest;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const std::string line = fmt::format("{} {}\n", sources[i].digest(), parts[i]);
    digest.update(std::as_bytes(std::span(line)));
  }
  return digest.hex();
}

std::string PreparedMixture::serialize() const {
  Json json = {{"names", names},
               {"parts", parts},
               {"has_weights", has_weights},
               {"has_validation_of_own", has_validation_of_own},
               {"sources", Json::array()}};
  for (const PreparedData& source : sources) {
    const std::string bytes = source.serialize();
    json["sources"].push_back(Json::binary({bytes.begin(), bytes.end()}));
  }
  const std::vector<std::uint8_t> bytes = Json::to_cbor(json);
  return {bytes.begin(), bytes.end()};
}

PreparedMixture PreparedMixture::parse(std::string_view bytes) {
  try {
    const Json json = Json::from_cbor(bytes);
    PreparedMixture result{.names = json.at("names"),
                           .sources = {},
                           .parts = json.at("parts"),
                           .has_weights = json.at("has_weights"),
                           .has_validation_of_own = json.at("has_validation_of_own")};
    for (const Json& source : json.at("sources")) {
      const auto& binary = source.get_binary();
      result.sources.push_back(PreparedData::parse(std::string(binary.begin(), binary.end())));
    }
    return result;
  } catch (const Json::exception& error) {
    fail("the description of the prepared data is corrupt: {}", error.what());
  }
}

PreparedMixture prepare_mixture(const std::vector<DataSource>& sources, const DataOptions& options,
                                const Progress& progress) {
  require_different(sources);
  PreparedMixture result;
  result.has_weights = sources.front().weight > 0;
  result.has_validation_of_own = !options.validation.empty();
  std::vector<DataOptions> each(sources.size(), options);
  for (std::size_t i = 0; i < sources.size(); ++i) each[i].data = sources[i].path;
  if (each.size() > 1) {
    Reporter reporter(progress);
    const TokenizerPtr shared = shared_tokenizer(each, reporter);
    for (DataOptions& one : each) one.known_tokenizer = shared;
  }
  for (std::size_t i = 0; i < each.size(); ++i) {
    if (each.size() > 1 && progress) progress(fmt::format("source {}", each[i].data));
    PreparedData data = prepare_data(each[i], progress);
    const auto& first = result.sources.empty() ? data : result.sources.front();
    if (data.vocabulary != first.vocabulary || data.tokenizer_kind != first.tokenizer_kind ||
        data.tokenizer_blob != first.tokenizer_blob) {
      fail(
          "--data: {} has {} different tokens and {} has {}, of other tokenizers; make both with "
          "the same",
          sources.front().path, first.vocabulary, sources[i].path, data.vocabulary);
    }
    result.names.push_back(sources[i].path);
    result.parts.push_back(result.has_weights ? sources[i].weight : data.train.count);
    result.sources.push_back(std::move(data));
  }
  result.parts = Mixture(std::move(result.parts)).parts();
  return result;
}

std::uint64_t MixedData::training_tokens() const {
  std::uint64_t sum = 0;
  for (const Dataset& source : sources) sum += source.train.tokens.size();
  return sum;
}

MixedData open_mixture(const PreparedMixture& prepared, int threads) {
  MixedData data{.names = prepared.names,
                 .sources = {},
                 .parts = prepared.parts,
                 .has_weights = prepared.has_weights,
                 .has_validation_of_own = prepared.has_validation_of_own};
  for (const PreparedData& source : prepared.sources) {
    data.sources.push_back(open_dataset(source, threads));
  }
  return data;
}

}  // namespace cllm::data
