#include "cllm/model/generator.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "cllm/base/error.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/attention_head.h"

namespace cllm::model {

void validate(const SamplingOptions& options) {
  if (!(options.temperature >= 0.0) || std::isinf(options.temperature)) {
    fail("--temperature {}: give a number from 0 (always the likeliest token) upward",
         options.temperature);
  }
  if (!(options.top_p > 0.0 && options.top_p <= 1.0)) {
    fail("--top-p {}: give a probability above 0 and up to 1", options.top_p);
  }
}

std::uint32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                           RandomStream& random) {
  // No order holds for NaN.
  if (!std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); })) {
    fail("the model's scores for the next token are not finite; use an earlier checkpoint");
  }
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto likelier = [&](std::uint32_t a, std::uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  if (options.temperature == 0.0) return *std::ranges::min_element(order, likelier);

  if (options.top_k > 0 && options.top_k < order.size()) {
    std::ranges::nth_element(order, order.begin() + static_cast<std::ptrdiff_t>(options.top_k),
                             likelier);
    order.resize(options.top_k);
  }
  std::ranges::sort(order, likelier);
  std::vector<double> weights(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    weights[i] =
        std::exp((static_cast<double>(logits[order[i]]) - static_cast<double>(logits[order[0]])) /
                 options.temperature);
  }
  double kept = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.top_p < 1.0) {
    const double enough = options.top_p * kept;
    std::size_t count = 0;
    for (kept = 0; count < weights.size() && kept < enough; ++count) kept += weights[count];
    weights.resize(count);
  }
  double point = random.uniform() * kept;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    point -= weights[i];
    if (point < 0) return order[i];
  }
  return order[weights.size() - 1];  // rounding may leave the point at the very end
}

Generator::Generator(const Layout& layout, const kernels::Kernels& kernels,
                     std::span<const float> parameters)
    : layout_(layout), kernels_(kernels), parameters_(parameters.data()) {
  const ModelConfig& config = layout.config();
  const std::size_t t = config.context, c = config.channels;
  qkv_ = AlignedBuffer<float>(config.layers * t * 3 * c);
  if (config.is_factorised()) codes_ = AlignedBuffer<float>(t * config.embedding_rank);
  x_ = AlignedBuffer<float>(t * c);
  norm_ = AlignedBuffer<float>(t * c);
  branch_ = AlignedBuffer<float>(t * c);
  hidden_ = AlignedBuffer<float>(t * 4 * c);
  gelu_ = AlignedBuffer<float>(t * 4 * c);
  mean_ = AlignedBuffer<float>(t);
  rstd_ = AlignedBuffer<float>(t);
  scores_ = AlignedBuffer<float>(std::min(t, kQueryBlock) * t);
  logits_ = AlignedBuffer<float>(config.vocabulary);
}

std::span<const float> Generator::advance(std::span<const std::uint32_t> tokens) {
  const std::size_t context = layout_.config().context;
  if (past_.size() + tokens.size() <= context) {
    advance_within_context(tokens);
    return logits_.span();
  }
  // Positions are learned, so what is kept must be computed again at its new place.
  std::vector<std::uint32_t> text = past_;
  text.insert(text.end(), tokens.begin(), tokens.end());
  const std::size_t kept = std::max<std::size_t>(context / 2, 1);
  past_.clear();
  advance_within_context(std::span(text).last(std::min(kept, text.size())));
  return logits_.span();
}

void Generator::advance_within_context(std::span<const std::uint32_t> tokens) {
  const ModelConfig& config = layout_.config();
  const kernels::Kernels& k = kernels_;
  const std::size_t c = config.channels, n = tokens.size(), past = past_.size();
  const auto p = [&](std::size_t tensor) { return parameters_ + layout_[tensor].offset; };
  const auto linear = [&](const float* x, std::size_t weight, float* y, std::size_t rows) {
    const Tensor& w = layout_[weight];
    kernels::sgemm(kernels::Transpose::kNo, kernels::Transpose::kYes, rows, w.rows, w.columns, 1.0f,
                   x, w.columns, p(weight), w.columns, 0.0f, y, w.rows);
  };

  const std::size_t width = config.embedding_width();
  float* const rows = config.is_factorised() ? codes_.data() : x_.data();
  for (std::size_t i = 0; i < n; ++i) {
    std::memcpy(rows + i * width, p(layout_.embedding()) + tokens[i] * width,
                width * sizeof(float));
  }
  if (config.is_factorised()) {
    kernels::sgemm(kernels::Transpose::kNo, kernels::Transpose::kNo, n, c, width, 1.0f, rows, width,
                   p(layout_.embedding_basis()), c, 0.0f, x_.data(), c);
  }
  k.add(p(layout_.wpe()) + past * c, x_.data(), n * c);
  for (std::size_t l = 0; l < config.layers; ++l) {
    const LayerTensors& t = layout_.layer(l);
    float* qkv = qkv_.data() + (l * config.context + past) * 3 * c;
    k.layernorm(x_.data(), p(t.ln_1_weight), p(t.ln_1_bias), norm_.data(), mean_.data(),
                rstd_.data(), n, c);
    linear(norm_.data(), t.c_attn_weight, qkv, n);
    k.add_bias(p(t.c_attn_bias), qkv, n, 3 * c);
    attend(l, n);
    linear(norm_.data(), t.attn_proj_weight, branch_.data(), n);
    k.residual_layernorm(x_.data(), branch_.data(), p(t.attn_proj_bias), p(t.ln_2_weight),
                         p(t.ln_2_bias), x_.data(), norm_.data(), mean_.data(), rstd_.data(), n, c);
    linear(norm_.data(), t.c_fc_weight, hidden_.data(), n);
    k.bias_gelu(p(t.c_fc_bias), hidden_.data(), gelu_.data(), n, 4 * c);
    linear(gelu_.data(), t.mlp_proj_weight, branch_.data(), n);
    k.add_bias(p(t.mlp_proj_bias), branch_.data(), n, c);
    k.add(branch_.data(), x_.data(), n * c);
  }
  k.layernorm(x_.data() + (n - 1) * c, p(layout_.ln_f_weight()), p(layout_.ln_f_bias()),
              norm_.data(), mean_.data(), rstd_.data(), 1, c);
  if (config.is_factorised()) linear(norm_.data(), layout_.embedding_basis(), codes_.data(), 1);
  linear(config.is_factorised() ? codes_.data() : norm_.data(), layout_.embedding(), logits_.data(),
         1);
  past_.insert(past_.end(), tokens.begin(), tokens.end());
}

/// norm_ (rows, C) = attention of the newest `rows` positions over all that are kept.
void Generator::attend(std::size_t layer, std::size_t rows) {
  const ModelConfig& config = layout_.config();
  const std::size_t c = config.channels, past = past_.size();
  const float* qkv = qkv_.data() + layer * config.context * 3 * c;
  for (std::size_t h = 0; h < config.heads; ++h) {
    const float* first = qkv + h * config.head_size();
    const AttentionHead head{.q = first + past * 3 * c,
                             .k = first + c,
                             .v = first + 2 * c,
                             .stride = 3 * c,
                             .positions = rows,
                             .past = past,
                             .head_size = config.head_size()};
    attention_forward(kernels_, head, norm_.data() + h * config.head_size(), c, mean_.data(),
                      scores_.data());
  }
}

}  // namespace cllm::model
