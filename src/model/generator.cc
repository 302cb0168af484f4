#include "cllm/model/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "cllm/base/error.h"

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

namespace {

MicroBatchShape whole_context(const ModelConfig& config) {
  return {.sequences = 1, .positions = config.context, .token_block = config.context};
}

}  // namespace

Generator::Generator(const Model& model, std::span<const float> parameters, ThreadPool* helpers,
                     std::span<const std::uint32_t> token_rows)
    : model_(model),
      parameters_(parameters.data()),
      helpers_(helpers),
      token_rows_(token_rows),
      logits_(token_rows.size()),
      workspace_(model.network(), whole_context(model.layout().config()), Purpose::kGeneration),
      scratch_(model.layout().config(), 0) {}

std::uint64_t Generator::bytes_for(const Network& network) {
  const ModelConfig& config = network.layout.config();
  return Workspace::bytes_for(network, whole_context(config), Purpose::kGeneration) +
         Scratch::bytes_for(config, 0) + config.vocabulary * sizeof(float);
}

std::span<const float> Generator::advance(std::span<const std::uint32_t> tokens) {
  const std::size_t context = model_.layout().config().context;
  if (past_.size() + tokens.size() <= context) return advance_within_context(tokens);
  // Positions are learned, so what is kept must be computed again at its new place.
  std::vector<std::uint32_t> text = std::exchange(past_, {});
  text.insert(text.end(), tokens.begin(), tokens.end());
  const std::size_t kept = std::max<std::size_t>(context / 2, 1);
  return advance_within_context(std::span(text).last(std::min(kept, text.size())));
}

std::span<const float> Generator::advance_to(std::span<const std::uint32_t> text) {
  const auto common = std::ranges::mismatch(past_, text.first(text.size() - 1)).in1 - past_.begin();
  past_.resize(static_cast<std::size_t>(common));
  return advance_within_context(text.subspan(past_.size()));
}

std::span<const float> Generator::advance_within_context(std::span<const std::uint32_t> tokens) {
  const std::size_t past = past_.size();
  past_.insert(past_.end(), tokens.begin(), tokens.end());
  rows_.clear();
  if (!token_rows_.empty()) {
    for (const std::uint32_t token : past_) rows_.push_back(token_rows_[token]);
  }
  const float* const logits =
      model_.predict_next(parameters_,
                          {.inputs = rows_.empty() ? past_.data() : rows_.data(),
                           .targets = nullptr,
                           .sequences = 1,
                           .positions = past_.size(),
                           .past = past},
                          workspace_, scratch_, helpers_);
  if (token_rows_.empty()) return {logits, model_.layout().config().vocabulary};
  for (std::size_t token = 0; token < logits_.size(); ++token) {
    logits_[token] = logits[token_rows_[token]];
  }
  return logits_;
}

Continuation continue_text(Generator& generator, std::span<const std::uint32_t> prompt,
                           const ContinuationOptions& options, RandomStream& random,
                           const std::function<void(std::uint32_t)>& take) {
  Continuation continuation;
  generator.clear();
  std::span<const float> logits = generator.advance(prompt);
  while (continuation.tokens.size() < options.tokens) {
    const std::uint32_t token = sample_token(logits.first(options.known), options.sampling, random);
    continuation.is_ended = token == options.end;
    if (continuation.is_ended) break;
    continuation.tokens.push_back(token);
    take(token);
    if (continuation.tokens.size() < options.tokens) logits = generator.advance({&token, 1});
  }
  return continuation;
}

}  // namespace cllm::model
