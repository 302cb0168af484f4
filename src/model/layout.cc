#include "cllm/model/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace cllm::model {

Layout::Layout(const ModelConfig& config, const Freeze& freeze)
    : config_(with_usual_sizes(config)), freeze_(freeze) {
  validate(config);
  const std::size_t c = config_.channels;
  const bool tied = config_.parts.tied;
  embedding_ = add_table("wte", Role::kEmbedding, tied ? Initial::kNormal : Initial::kEmbedding,
                         Initial::kCodes);
  if (config_.parts.positions == PositionKind::kLearned) {
    wpe_ = add("wpe.weight", config_.context, c, Role::kEmbedding, Initial::kNormal);
  }
  if (config_.parts.embedding_norm) embedding_norm_ = add_norm("ln_e");
  std::vector<std::size_t> ends = {tensors_.size()};  // of the embeddings, and of each layer
  for (std::size_t l = 0; l < config_.layers; ++l) {
    layers_.push_back(add_layer(l));
    if (config_.lora.rank > 0) add_adapters(l, layers_.back());
    ends.push_back(tensors_.size());
  }
  ln_f_ = add_norm("ln_f");
  const std::size_t end_of_norm = tensors_.size();
  if (!tied) lm_head_ = add_table("lm_head", Role::kHead, Initial::kZero, Initial::kZero);

  freeze_.mark(tensors_, config_.layers);
  place_all(true, ends, end_of_norm);
  trained_size_ = flat_size_;
  place_all(false, ends, end_of_norm);
  for (const Tensor& tensor : tensors_) {
    parameter_count_ += tensor.size();
    if (tensor.is_trained) trained_count_ += tensor.size();
  }
}

void Layout::place_all(bool trained, std::span<const std::size_t> layer_ends,
                       std::size_t end_of_norm) {
  const auto group = [&](std::string name) {
    if (trained) begin_group(std::move(name));
  };
  if (!is_tied()) place_tables(trained, embedding_);
  group("head");
  place_tables(trained, lm_head());
  place(trained, layer_ends.back(), end_of_norm);
  place_bases(trained, lm_head_);
  for (std::size_t l = config_.layers; l-- > 0;) {
    group(fmt::format("h.{}", l));
    place(trained, layer_ends[l], layer_ends[l + 1]);
  }
  group("embeddings");
  place_bases(trained, embedding_);
  const TableBand& last = embedding_.back();
  place(trained, last.basis.value_or(last.tensor) + 1, layer_ends.front());
}

std::vector<TableBand> Layout::add_table(const std::string& name, Role role, Initial matrix,
                                         Initial codes) {
  std::vector<TableBand> bands;
  std::size_t row = 0;
  const std::size_t c = config_.channels;
  for (const EmbeddingBand& of : config_.table_bands()) {
    const std::string prefix =
        config_.has_bands() ? fmt::format("{}.{}", name, bands.size()) : name;
    TableBand band{.first_row = row, .rows = of.rows, .tensor = 0, .basis = {}};
    if (of.rank < c || config_.embedding_rank > 0) {
      band.tensor = add(prefix + ".codes", of.rows, of.rank, role, codes);
      band.basis = add(prefix + ".basis", of.rank, c, role,
                       config_.has_bands() ? Initial::kLeading : Initial::kBasis);
    } else {
      band.tensor = add(prefix + ".weight", of.rows, c, role, matrix);
    }
    row += of.rows;
    bands.push_back(band);
  }
  return bands;
}

bool Layout::is_table(std::size_t tensor) const {
  return std::ranges::any_of(embedding_, [&](const TableBand& b) { return b.tensor == tensor; });
}

const TableBand& Layout::band_of(std::size_t row) const {
  return *std::ranges::find_if(embedding_, [&](const TableBand& b) { return b.has(row); });
}

NormTensors Layout::add_norm(const std::string& name) {
  const auto vector = [&](const char* end, Initial initial) {
    return add(name + end, config_.channels, 1, Role::kVector, initial);
  };
  NormTensors norm;
  if (config_.parts.norm != NormKind::kPlainRms) norm.gain = vector(".weight", Initial::kOne);
  if (config_.parts.norm == NormKind::kLayer) norm.shift = vector(".bias", Initial::kZero);
  return norm;
}

LayerTensors Layout::add_layer(std::size_t l) {
  const Parts& parts = config_.parts;
  const std::size_t c = config_.channels, q = config_.query_width(), kv = config_.kv_width();
  const auto name = [&](std::string_view rest) { return fmt::format("h.{}.{}", l, rest); };
  const bool is_zero = parts.initial_weights == InitialWeights::kZeroProjections;
  const Initial inner = is_zero ? Initial::kUniform : Initial::kNormal;
  const Initial projection = is_zero ? Initial::kZero : Initial::kResidualNormal;
  const auto matrix = [&](std::string_view rest, std::size_t rows, std::size_t columns,
                          Initial initial, std::vector<std::size_t> pieces = {}) {
    const std::size_t tensor = add(name(rest), rows, columns, Role::kHidden, initial);
    tensors_[tensor].pieces = std::move(pieces);
    return tensor;
  };
  const auto bias = [&](std::string_view rest, std::size_t size) -> std::optional<std::size_t> {
    if (!parts.biases) return std::nullopt;
    return add(name(rest), size, 1, Role::kVector, Initial::kZero);
  };
  LayerTensors t{};
  t.ln_1 = add_norm(name("ln_1"));
  t.c_attn_weight = matrix("attn.c_attn.weight", config_.qkv_width(), c, inner, {q, kv, kv});
  t.c_attn_bias = bias("attn.c_attn.bias", config_.qkv_width());
  if (parts.qk_norm == QkNorm::kRms) {
    const auto gain = [&](std::string_view rest) {
      return add(name(rest), config_.head_size, 1, Role::kVector, Initial::kOne);
    };
    t.q_norm = gain("attn.q_norm.weight");
    t.k_norm = gain("attn.k_norm.weight");
  }
  t.attn_proj_weight = matrix("attn.c_proj.weight", c, q, projection);
  t.attn_proj_bias = bias("attn.c_proj.bias", c);
  t.ln_2 = add_norm(name("ln_2"));
  std::vector<std::size_t> pieces;
  if (parts.mlp == MlpKind::kSwiglu) pieces.assign(2, config_.mlp_width);
  t.c_fc_weight = matrix("mlp.c_fc.weight", config_.mlp_inputs(), c, inner, std::move(pieces));
  t.c_fc_bias = bias("mlp.c_fc.bias", config_.mlp_inputs());
  t.mlp_proj_weight = matrix("mlp.c_proj.weight", c, config_.mlp_width, projection);
  t.mlp_proj_bias = bias("mlp.c_proj.bias", c);
  return t;
}

void Layout::add_adapters(std::size_t l, const LayerTensors& t) {
  const std::size_t q = config_.query_width(), kv = config_.kv_width();
  const bool has_gates = config_.parts.mlp == MlpKind::kSwiglu;
  const auto adapter = [&](Projection target, std::size_t matrix, std::size_t first_row,
                           std::size_t rows) {
    if (!config_.lora.targets.has(target)) return;
    const bool is_attention = matrix == t.c_attn_weight || matrix == t.attn_proj_weight;
    const std::string name =
        fmt::format("h.{}.{}.{}.lora_", l, is_attention ? "attn" : "mlp", name_of(target));
    const std::size_t rank = config_.lora.rank, columns = tensors_[matrix].columns;
    const std::size_t a = add(name + "A", rank, columns, Role::kHidden, Initial::kAdapter);
    const std::size_t b = add(name + "B", rows, rank, Role::kHidden, Initial::kZero);
    for (const std::size_t tensor : {a, b}) tensors_[tensor].is_adapter = true;
    adapters_.push_back({target, matrix, first_row, rows, a, b});
  };
  using enum Projection;
  adapter(kQ, t.c_attn_weight, 0, q);
  adapter(kK, t.c_attn_weight, q, kv);
  adapter(kV, t.c_attn_weight, q + kv, kv);
  adapter(kO, t.attn_proj_weight, 0, tensors_[t.attn_proj_weight].rows);
  if (has_gates) adapter(kGate, t.c_fc_weight, 0, config_.mlp_width);
  adapter(kUp, t.c_fc_weight, has_gates ? config_.mlp_width : 0, config_.mlp_width);
  adapter(kDown, t.mlp_proj_weight, 0, tensors_[t.mlp_proj_weight].rows);
}

std::span<const AdapterTensors> Layout::adapters_of(std::size_t matrix) const {
  // By bounds, because clang 14 can't read libstdc++'s equal ranges.
  const auto first = std::ranges::lower_bound(adapters_, matrix, {}, &AdapterTensors::matrix);
  const auto end = std::ranges::upper_bound(adapters_, matrix, {}, &AdapterTensors::matrix);
  return {first, end};
}

std::size_t Layout::add(std::string name, std::size_t rows, std::size_t columns, Role role,
                        Initial initial) {
  tensors_.push_back({std::move(name), {}, rows, columns, role, initial, 0});
  return tensors_.size() - 1;
}

void Layout::begin_group(std::string name) { groups_.push_back({std::move(name), flat_size_, 0}); }

void Layout::place(std::size_t tensor) {
  tensors_[tensor].offset = flat_size_;
  flat_size_ += aligned(tensors_[tensor].size());
  if (tensors_[tensor].is_trained && !groups_.empty()) {
    groups_.back().size = flat_size_ - groups_.back().offset;
  }
}

void Layout::place_tables(bool trained, std::span<const TableBand> bands) {
  for (const TableBand& band : bands) place(trained, band.tensor, band.tensor + 1);
}

void Layout::place_bases(bool trained, std::span<const TableBand> bands) {
  for (const TableBand& band : bands) {
    if (band.basis) place(trained, *band.basis, *band.basis + 1);
  }
}

void Layout::place(bool trained, std::size_t first, std::size_t end) {
  for (std::size_t tensor = first; tensor < end; ++tensor) {
    if (tensors_[tensor].is_trained == trained) place(tensor);
  }
}

}  // namespace cllm::model
