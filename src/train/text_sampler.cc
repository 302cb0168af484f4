#include "cllm/train/text_sampler.h"

#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "cllm/base/memory.h"
#include "cllm/base/random.h"
#include "cllm/base/stopwatch.h"

namespace cllm::train {
namespace {

/// A token may be a part of a character, and an early model strings them together at random.
std::string as_utf8(const std::string& text) {
  const nlohmann::json value = text;
  return nlohmann::json::parse(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
      .get<std::string>();
}

}  // namespace

TextSampler::TextSampler(const model::Model& model, const data::Tokenizer& tokenizer,
                         ThreadPool& helpers, std::span<const std::uint32_t> token_rows,
                         const Options& options)
    : model_(model),
      tokenizer_(tokenizer),
      helpers_(helpers),
      token_rows_(token_rows),
      options_(options),
      prompt_(options.prompt.empty() ? beginning_of_document(tokenizer)
                                     : tokenizer.encode(options.prompt)) {
  if (prompt_.empty()) {
    fail("--sample-prompt {}: the tokenizer has no token for it; give another text",
         options.prompt);
  }
}

TextSample TextSampler::sample(std::span<const float> parameters) const {
  const Stopwatch clock;
  std::string text;
  {
    model::Generator generator(model_, parameters, &helpers_, token_rows_);
    RandomStream random(options_.seed, 0);
    text = tokenizer_.decode(model::continue_text(generator, prompt_,
                                                  {.sampling = options_.sampling,
                                                   .tokens = options_.tokens,
                                                   .known = tokenizer_.vocabulary(),
                                                   .end = tokenizer_.end_of_text()},
                                                  random)
                                 .tokens);
  }
  return_free_memory();  // to what comes until the next one
  return {.prompt = options_.prompt, .text = as_utf8(text), .seconds = clock.elapsed()};
}

std::vector<std::uint32_t> beginning_of_document(const data::Tokenizer& tokenizer) {
  if (const auto end = tokenizer.end_of_text()) return {*end};
  return tokenizer.encode("\n");
}

}  // namespace cllm::train
