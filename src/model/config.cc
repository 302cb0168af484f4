#include "cllm/model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "cllm/base/error.h"
#include "cllm/model/config_fields.h"
#include "cllm/model/families.h"

namespace cllm::model {
namespace {

/// Of position and head size: the angles of rotary positions, which a model keeps, stay below 1 GB.
constexpr std::size_t kMostAngles = std::size_t{1} << 28;

void check_size(std::string_view option, std::size_t value, std::size_t most) {
  if (value < 1 || value > most) fail("{} {}: give a number from 1 to {}", option, value, most);
}

void check_parts(const ModelConfig& config) {
  const Parts& parts = config.parts;
  if (!(parts.norm_epsilon > 0 && parts.norm_epsilon < 1)) {
    fail("--norm-epsilon {}: give a number between 0 and 1", parts.norm_epsilon);
  }
  if (parts.norm == NormKind::kLayer && parts.norm_epsilon != Parts{}.norm_epsilon) {
    fail("--norm-epsilon {}: layer norm has {}; leave it out, or give --norm rms",
         parts.norm_epsilon, Parts{}.norm_epsilon);
  }
  if (!(parts.rope_theta > 1) || !std::isfinite(parts.rope_theta)) {
    fail("--rope-theta {}: give a number above 1, such as 10000", parts.rope_theta);
  }
  if (!(parts.softcap >= 0) || !std::isfinite(parts.softcap)) {
    fail("--softcap {}: give a number above 0, such as 15, or 0 for none", parts.softcap);
  }
  if (parts.positions == PositionKind::kRotary) {
    if (config.head_size % 2 != 0) {
      fail("--positions rotary turns pairs of numbers, and heads have {}; give an even --head-size",
           config.head_size);
    }
    if (config.context > kMostAngles / config.head_size) {
      fail("--context {}: with --positions rotary and heads of {} give at most {}", config.context,
           config.head_size, kMostAngles / config.head_size);
    }
  }
}

/// Of a vocabulary that is known.
void check_embedding(const ModelConfig& config, const EmbeddingBands& given) {
  if (config.embedding_rank > config.channels) {
    fail("--embedding-rank {}: give a rank up to the {} of --channels, or dense",
         config.embedding_rank, config.channels);
  }
  if (!config.has_bands()) return;
  if (config.embedding_rank > 0) {
    fail("--embedding-rank {}: --embedding-bands has a rank for each band; leave one of them out",
         config.embedding_rank);
  }
  validate(given, config.vocabulary, config.channels);
}

void check_lora(const ModelConfig& config) {
  const Lora& lora = config.lora;
  if (lora.rank == 0) return;
  check_size("--lora-rank", lora.rank, config.channels);
  if (!(lora.alpha > 0) || !std::isfinite(lora.alpha)) {
    fail("--lora-alpha {}: give a number above 0, such as twice --lora-rank", lora.alpha);
  }
  Projections all = projections_of("all", config.parts.mlp == MlpKind::kSwiglu);
  if (lora.targets.bits == 0 || (lora.targets.bits & ~all.bits) != 0) {
    fail("--lora-targets: give some of {}", text_of(all));
  }
}

}  // namespace

ModelConfig with_usual_sizes(ModelConfig config) {
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  if (config.head_size == 0 && config.heads > 0) config.head_size = config.channels / config.heads;
  if (config.mlp_width == 0) {
    config.mlp_width = config.parts.mlp == MlpKind::kSwiglu ? (config.channels * 8 + 95) / 96 * 32
                                                            : 4 * config.channels;
  }
  config.bands = with_rows(config.bands, config.vocabulary);
  return config;
}

bool ModelConfig::is_factorised() const {
  return embedding_rank > 0 || std::ranges::any_of(bands.all(), [&](const EmbeddingBand& band) {
           return band.rank < channels;
         });
}

std::vector<EmbeddingBand> ModelConfig::table_bands() const {
  if (!has_bands()) return {{vocabulary, embedding_rank > 0 ? embedding_rank : channels}};
  const EmbeddingBands known = with_rows(bands, vocabulary);
  return {known.all().begin(), known.all().end()};
}

std::size_t ModelConfig::embedding_width() const {
  return std::ranges::max(table_bands(), {}, &EmbeddingBand::rank).rank;
}

bool ModelConfig::operator==(const ModelConfig& other) const {
  const auto all = [](const ModelConfig& c) {
    return std::tie(c.layers, c.heads, c.channels, c.context, c.vocabulary, c.embedding_rank,
                    c.kv_heads, c.head_size, c.mlp_width, c.family, c.parts, c.lora.rank,
                    c.lora.alpha, c.lora.targets.bits, c.bands);
  };
  const ModelConfig a = with_usual_sizes(*this), b = with_usual_sizes(other);
  return all(a) == all(b);
}

void validate(const ModelConfig& given) {
  // BLAS counts in 32 bits, and with these bounds every product of sizes has room in 64.
  constexpr std::size_t kMost = std::numeric_limits<std::int32_t>::max();
  const ModelConfig config = with_usual_sizes(given);
  find_family(config.family);
  check_size("--layers", config.layers, 10'000);
  check_size("--channels", config.channels, 1'000'000);
  check_size("--heads", config.heads, 1'000'000);
  check_size("--context", config.context, kMost);
  check_size("the vocabulary of --tokenizer", config.vocabulary, kMost);
  check_embedding(config, given.bands);
  if (given.head_size == 0 && config.channels % config.heads != 0) {
    fail("--heads {} does not divide --channels {}; make the channels a multiple of the heads",
         config.heads, config.channels);
  }
  check_size("--head-size", config.head_size, 1'000'000);
  if (config.query_width() > 1'000'000) {
    fail("--head-size {}: with {} heads give at most {}", config.head_size, config.heads,
         1'000'000 / config.heads);
  }
  check_size("--mlp-width", config.mlp_width, 10'000'000);
  check_size("--kv-heads", config.kv_heads, config.heads);
  if (config.heads % config.kv_heads != 0) {
    fail("--kv-heads {} does not divide --heads {}; give a divisor", config.kv_heads, config.heads);
  }
  check_parts(config);
  check_lora(config);
}

std::string shape_text(const ModelConfig& given) {
  const ModelConfig config = with_usual_sizes(given), usual = [&] {
    ModelConfig other = config;
    other.kv_heads = other.head_size = other.mlp_width = 0;
    return with_usual_sizes(other);
  }();
  std::string text =
      fmt::format("{}, {} layers, {} heads", config.family, config.layers, config.heads);
  if (config.head_size != usual.head_size) text += fmt::format(" of {}", config.head_size);
  if (config.kv_heads != usual.kv_heads) {
    text += fmt::format(" ({} of keys and values)", config.kv_heads);
  }
  text += fmt::format(", {} channels", config.channels);
  if (config.mlp_width != usual.mlp_width) text += fmt::format(", MLP width {}", config.mlp_width);
  text += fmt::format(", context {}, vocabulary {}", config.context, config.vocabulary);
  if (config.embedding_rank > 0) text += fmt::format(", embedding rank {}", config.embedding_rank);
  if (config.has_bands()) text += fmt::format(", embedding bands {}", text_of(config.bands));
  const std::string parts = parts_text(config);
  if (!parts.empty()) text += ", " + parts;
  if (config.lora.rank > 0) {
    text += fmt::format(", adapters of rank {} and alpha {} of {}", config.lora.rank,
                        config.lora.alpha, text_of(config.lora.targets));
  }
  return text;
}

std::string parts_text(const ModelConfig& config) {
  const Parts& usual = find_family(config.family).parts;
  const Parts& parts = config.parts;
  std::string text;
  const auto add = [&](const std::string& part) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", part);
  };
  if (parts.norm != usual.norm) add(fmt::format("{} norm", word_of(parts.norm)));
  if (parts.norm_epsilon != usual.norm_epsilon) {
    add(fmt::format("norm epsilon {}", parts.norm_epsilon));
  }
  if (parts.positions != usual.positions) {
    add(fmt::format("{} positions", word_of(parts.positions)));
  }
  if (parts.positions == PositionKind::kRotary && parts.rope_theta != usual.rope_theta) {
    add(fmt::format("rope theta {}", parts.rope_theta));
  }
  if (parts.qk_norm != usual.qk_norm) add(fmt::format("{} QK-norm", word_of(parts.qk_norm)));
  if (parts.mlp != usual.mlp) add(fmt::format("{} MLP", word_of(parts.mlp)));
  if (parts.biases != usual.biases) add(parts.biases ? "biases" : "no biases");
  if (parts.tied != usual.tied) add(parts.tied ? "tied head" : "untied head");
  if (parts.embedding_norm != usual.embedding_norm) {
    add(parts.embedding_norm ? "norm of embeddings" : "no norm of embeddings");
  }
  if (parts.softcap != usual.softcap) {
    add(parts.softcap > 0 ? fmt::format("softcap {}", parts.softcap) : "no softcap");
  }
  return text;
}

}  // namespace cllm::model
