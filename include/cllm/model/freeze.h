#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cllm::model {

struct Tensor;

/// Which tensors training leaves as they are. They get no gradient, and so no sum, no message, no
/// state of an optimizer and no update; backward ends where nothing further down is trained.
/// Immutable, so thread-safe.
class Freeze {
 public:
  /// Nothing.
  Freeze() = default;

  /// From words with commas between them: "embeddings" (of tokens and positions), "layers:3",
  /// "layers:0-5", "attention" and "mlp" (of all layers), "norms" (gains and shifts, wherever they
  /// are), "biases", "head" (an output layer of its own), "base" (all but adapters); or "none", as
  /// an empty text is.
  /// Throws Error that goes on from "--freeze WORDS: ".
  explicit Freeze(std::string_view words);

  bool operator==(const Freeze&) const = default;
  bool is_empty() const { return words_.empty(); }
  /// The words, as they are read; empty for nothing.
  std::string text() const;

  /// Sets `is_trained` of a model's tensors. Throws Error, naming --freeze, where a word means none
  /// of them, and where none is left to train.
  void mark(std::vector<Tensor>& tensors, std::size_t layers) const;

 private:
  std::vector<std::string> words_;
};

}  // namespace cllm::model
