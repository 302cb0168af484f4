#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace cllm::model {

/// The shape of a GPT-2 model.
struct ModelConfig {
  std::size_t layers = 4;      ///< L
  std::size_t heads = 4;       ///< H; divides channels
  std::size_t channels = 128;  ///< C
  std::size_t context = 64;    ///< T: the most positions a sequence has
  std::size_t vocabulary = 0;  ///< V; comes from the tokenizer
  /// r: the token embedding is codes (V, r) times basis (r, C); 0: one table (V, C).
  std::size_t embedding_rank = 0;

  bool is_factorised() const { return embedding_rank > 0; }
  /// Columns of the table that has a row for each token.
  std::size_t embedding_width() const { return is_factorised() ? embedding_rank : channels; }
  std::size_t head_size() const { return channels / heads; }
  bool operator==(const ModelConfig&) const = default;
};

/// Throws Error, naming the option to change, unless the shape makes sense.
void validate(const ModelConfig& config);

/// What messages say of a shape: "4 layers, 4 heads, 128 channels, …".
std::string shape_text(const ModelConfig& config);

/// A named shape, without a vocabulary.
struct Preset {
  std::string_view name;
  ModelConfig shape;
};

/// All presets, smallest first.
std::span<const Preset> presets();

/// The shape of the preset. Throws Error that lists the names when there is none such.
const Preset& find_preset(std::string_view name);

}  // namespace cllm::model
