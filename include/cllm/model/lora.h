#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cllm::model {

/// A layer's matrices between activations, each for itself, by the names that transformers' Llama
/// gives them; an MLP without gates has an up_proj and a down_proj.
enum class Projection { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr std::size_t kProjections = 7;

/// "q_proj", ….
std::string_view name_of(Projection projection);

/// Some of them.
struct Projections {
  std::uint8_t bits = 0;

  constexpr bool has(Projection p) const { return (bits >> static_cast<unsigned>(p) & 1) != 0; }
  constexpr void add(Projection p) {
    bits = static_cast<std::uint8_t>(bits | 1U << static_cast<unsigned>(p));
  }
  bool operator==(const Projections&) const = default;
};

/// "q_proj,v_proj".
std::string text_of(Projections projections);

/// From words with commas between them: names as above, those that GPT-2 (c_attn, c_fc, c_proj) and
/// nanochat (fc1, fc2) have in transformers, "attention", "mlp", or "all". Without `has_gates` the
/// last two mean no gate_proj. Throws Error that goes on from "--lora-targets WORDS: ".
Projections projections_of(std::string_view words, bool has_gates);

/// Low-rank adapters (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv
/// 2106.09685): a matrix W (out, in) that stays as it is, and beside it A (r, in) and B (out, r),
/// which are trained,
///
///     y = x Wᵀ + alpha / r (x Aᵀ) Bᵀ.
///
/// A starts uniform within 1 / sqrt(in), as PEFT has it, and B at zero: so the model begins as it
/// is without them.
struct Lora {
  std::size_t rank = 0;  ///< r; 0: there are none
  double alpha = 0;
  Projections targets;  ///< the matrices that have one, in every layer

  double scale() const { return alpha / static_cast<double>(rank); }
  bool operator==(const Lora&) const = default;
};

}  // namespace cllm::model
