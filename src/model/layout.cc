#include "cllm/model/layout.h"

#include <fmt/format.h>

#include <utility>

namespace cllm::model {
namespace {

/// Floats in a cache line: tensors begin on one.
constexpr std::size_t kAlign = 16;

}  // namespace

Layout::Layout(const ModelConfig& config) : config_(config) {
  validate(config);
  const std::size_t c = config.channels;
  const auto table = [&](std::string name, std::size_t rows, std::size_t columns,
                         Initial initial = Initial::kNormal) {
    add(std::move(name), rows, columns, Role::kEmbedding, initial);
  };
  const auto matrix = [&](std::string name, std::size_t rows, std::size_t columns,
                          Initial initial = Initial::kNormal) {
    return add(std::move(name), rows, columns, Role::kHidden, initial);
  };
  const auto vector = [&](std::string name, std::size_t size, Initial initial = Initial::kZero) {
    return add(std::move(name), size, 1, Role::kVector, initial);
  };

  if (config.is_factorised()) {
    table("wte.codes", config.vocabulary, config.embedding_rank, Initial::kCodes);
    table("wte.basis", config.embedding_rank, c, Initial::kBasis);
  } else {
    table("wte.weight", config.vocabulary, c);
  }
  table("wpe.weight", config.context, c);
  for (std::size_t l = 0; l < config.layers; ++l) {
    const auto name = [&](std::string_view rest) { return fmt::format("h.{}.{}", l, rest); };
    LayerTensors t{};
    t.ln_1_weight = vector(name("ln_1.weight"), c, Initial::kOne);
    t.ln_1_bias = vector(name("ln_1.bias"), c);
    t.c_attn_weight = matrix(name("attn.c_attn.weight"), 3 * c, c);
    t.c_attn_bias = vector(name("attn.c_attn.bias"), 3 * c);
    t.attn_proj_weight = matrix(name("attn.c_proj.weight"), c, c, Initial::kResidualNormal);
    t.attn_proj_bias = vector(name("attn.c_proj.bias"), c);
    t.ln_2_weight = vector(name("ln_2.weight"), c, Initial::kOne);
    t.ln_2_bias = vector(name("ln_2.bias"), c);
    t.c_fc_weight = matrix(name("mlp.c_fc.weight"), 4 * c, c);
    t.c_fc_bias = vector(name("mlp.c_fc.bias"), 4 * c);
    t.mlp_proj_weight = matrix(name("mlp.c_proj.weight"), c, 4 * c, Initial::kResidualNormal);
    t.mlp_proj_bias = vector(name("mlp.c_proj.bias"), c);
    layers_.push_back(t);
  }
  vector("ln_f.weight", c, Initial::kOne);
  vector("ln_f.bias", c);

  begin_group("head");
  place(embedding(), embedding() + 1);
  place(ln_f_weight(), tensors_.size());
  for (std::size_t l = config.layers; l-- > 0;) {
    begin_group(fmt::format("h.{}", l));
    place(layers_[l].ln_1_weight, layers_[l].mlp_proj_bias + 1);
  }
  begin_group("embeddings");
  place(embedding() + 1, wpe() + 1);
}

std::size_t Layout::add(std::string name, std::size_t rows, std::size_t columns, Role role,
                        Initial initial) {
  tensors_.push_back({std::move(name), rows, columns, role, initial, 0});
  parameter_count_ += rows * columns;
  return tensors_.size() - 1;
}

void Layout::begin_group(std::string name) { groups_.push_back({std::move(name), flat_size_, 0}); }

void Layout::place(std::size_t first_tensor, std::size_t end_tensor) {
  for (std::size_t index = first_tensor; index < end_tensor; ++index) {
    tensors_[index].offset = flat_size_;
    flat_size_ += (tensors_[index].size() + kAlign - 1) / kAlign * kAlign;
  }
  groups_.back().size = flat_size_ - groups_.back().offset;
}

}  // namespace cllm::model
