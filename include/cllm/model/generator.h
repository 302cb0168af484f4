#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/model/model.h"
#include "cllm/model/workspace.h"

namespace cllm::model {

/// How the next token is drawn from the logits.
struct SamplingOptions {
  double temperature = 0.8;  ///< 0 takes the likeliest token
  std::size_t top_k = 0;     ///< only the k likeliest; 0 for all
  double top_p = 1.0;        ///< only the likeliest that together reach this probability
};

/// Throws Error, naming the option, for values that make no sense.
void validate(const SamplingOptions& options);

/// A token drawn from softmax(logits / temperature), cut to top-k, then to top-p (Holtzman et al.,
/// "The Curious Case of Neural Text Degeneration", ICLR 2020).
std::uint32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                           RandomStream& random);

/// Continues a text token by token, keeping keys and values of the past. When the context is full
/// it goes on from the latter half of it. Not thread-safe; the model, `parameters`, a flat buffer
/// of its layout, and `helpers`, the threads that share products, must outlive it. Logits don't
/// depend on the number of these.
class Generator {
 public:
  /// `token_rows`: the row of each token in the embedding, where those aren't tokens (V); it must
  /// outlive the generator too. What it takes in and what logits are of are tokens in any case.
  Generator(const Model& model, std::span<const float> parameters, ThreadPool* helpers = nullptr,
            std::span<const std::uint32_t> token_rows = {});

  /// Takes in more text, at least one token, each below the vocabulary; returns the logits (V) of
  /// what follows, valid until the next call.
  std::span<const float> advance(std::span<const std::uint32_t> tokens);

  /// Makes `text`, from one token up to the context's length, all that was taken in, and returns
  /// the logits of what follows it. Only what comes behind the beginning that it has in common with
  /// the text before is computed, and at least the last token.
  std::span<const float> advance_to(std::span<const std::uint32_t> text);

  /// Forgets what was taken in.
  void clear() { past_.clear(); }

  /// Bytes that a generator of such a model takes.
  static std::uint64_t bytes_for(const Network& network);

 private:
  std::span<const float> advance_within_context(std::span<const std::uint32_t> tokens);

  const Model& model_;
  const float* parameters_;
  ThreadPool* helpers_;  // null: none
  std::span<const std::uint32_t> token_rows_;
  std::vector<std::uint32_t> past_;  // tokens whose keys and values are kept
  std::vector<std::uint32_t> rows_;  // of those, where they aren't tokens
  std::vector<float> logits_;        // (V), by tokens, where rows aren't
  Workspace workspace_;
  Scratch scratch_;
};

/// How a text is continued.
struct ContinuationOptions {
  SamplingOptions sampling;
  std::uint64_t tokens;  ///< at most so many
  /// Tokens that have a text: a vocabulary may be larger in the model, and those rows aren't drawn.
  std::size_t known;
  std::optional<std::uint32_t> end = {};  ///< the token that ends a text, where it is to
};

struct Continuation {
  std::vector<std::uint32_t> tokens;
  bool is_ended = false;  ///< by the token for it, which is none of `tokens`
};

/// What follows `prompt`, at least one token, by a generator that forgets all it had taken in:
/// another way to the same sums may end in other bits. `take` gets each token as it is drawn.
/// Throws Error as sample_token does.
Continuation continue_text(
    Generator& generator, std::span<const std::uint32_t> prompt, const ContinuationOptions& options,
    RandomStream& random, const std::function<void(std::uint32_t)>& take = [](std::uint32_t) {});

}  // namespace cllm::model
