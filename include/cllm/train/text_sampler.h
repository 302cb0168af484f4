#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/data/tokenizer.h"
#include "cllm/model/generator.h"
#include "cllm/model/model.h"

namespace cllm::train {

/// A text that the model in training has written.
struct TextSample {
  std::string prompt;
  std::string text;  ///< behind the prompt; UTF-8, with U+FFFD for bytes that are none
  double seconds;
};

/// Lets a model in training continue a prompt, so that people see what it has learned. The same
/// text for the same parameters, on any number of threads, and that of `cllm-dist sample` with the
/// same prompt and seed. It changes nothing that training depends on. One thread at a time.
class TextSampler {
 public:
  struct Options {
    std::string prompt = {};  ///< empty: the beginning of a document
    std::uint64_t tokens = 64;
    std::uint64_t seed = 1;
    model::SamplingOptions sampling = {};
  };

  /// The references must outlive it; `token_rows` as in model::Generator. Throws Error, naming
  /// --sample-prompt, where the tokenizer has no token for it.
  TextSampler(const model::Model& model, const data::Tokenizer& tokenizer, ThreadPool& helpers,
              std::span<const std::uint32_t> token_rows, const Options& options);

  /// Takes memory for as long as it goes on. Throws std::bad_alloc, and Error where the parameters
  /// give no finite scores.
  TextSample sample(std::span<const float> parameters) const;

 private:
  const model::Model& model_;
  const data::Tokenizer& tokenizer_;
  ThreadPool& helpers_;
  std::span<const std::uint32_t> token_rows_;
  Options options_;
  std::vector<std::uint32_t> prompt_;
};

/// The tokens that a document begins behind: the one that ends a text, or, where the tokenizer has
/// none, a new line.
std::vector<std::uint32_t> beginning_of_document(const data::Tokenizer& tokenizer);

}  // namespace cllm::train
