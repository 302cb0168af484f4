#include "cllm/base/error.h"
#include "naming.h"

// One table for each family of a format; nothing else knows foreign names.

namespace cllm::io {
namespace {

Naming make_transformers_gpt2() {
  constexpr Form t = Form::kTransposed;
  return {.rules = {{"wte.weight", {{"transformer.wte.weight"}}},
                    {"wpe.weight", {{"transformer.wpe.weight"}}},
                    {"h.*.ln_1.weight", {{"transformer.h.*.ln_1.weight"}}},
                    {"h.*.ln_1.bias", {{"transformer.h.*.ln_1.bias"}}},
                    {"h.*.attn.c_attn.weight", {{"transformer.h.*.attn.c_attn.weight", t}}},
                    {"h.*.attn.c_attn.bias", {{"transformer.h.*.attn.c_attn.bias"}}},
                    {"h.*.attn.c_proj.weight", {{"transformer.h.*.attn.c_proj.weight", t}}},
                    {"h.*.attn.c_proj.bias", {{"transformer.h.*.attn.c_proj.bias"}}},
                    {"h.*.ln_2.weight", {{"transformer.h.*.ln_2.weight"}}},
                    {"h.*.ln_2.bias", {{"transformer.h.*.ln_2.bias"}}},
                    {"h.*.mlp.c_fc.weight", {{"transformer.h.*.mlp.c_fc.weight", t}}},
                    {"h.*.mlp.c_fc.bias", {{"transformer.h.*.mlp.c_fc.bias"}}},
                    {"h.*.mlp.c_proj.weight", {{"transformer.h.*.mlp.c_proj.weight", t}}},
                    {"h.*.mlp.c_proj.bias", {{"transformer.h.*.mlp.c_proj.bias"}}},
                    {"ln_f.weight", {{"transformer.ln_f.weight"}}},
                    {"ln_f.bias", {{"transformer.ln_f.bias"}}},
                    {"lm_head.weight", {{"lm_head.weight"}}}},
          // The causal mask, which older versions saved.
          .ignored = {"transformer.h.*.attn.bias", "transformer.h.*.attn.masked_bias"},
          .prefix = "transformer."};
}

/// Of Llama and what came after it. `form` is that of queries and keys.
std::vector<TensorRule> transformers_rules(Form form) {
  return {{"wte.weight", {{"model.embed_tokens.weight"}}},
          {"h.*.ln_1.weight", {{"model.layers.*.input_layernorm.weight"}}},
          {"h.*.attn.c_attn.weight",
           {{"model.layers.*.self_attn.q_proj.weight", form},
            {"model.layers.*.self_attn.k_proj.weight", form},
            {"model.layers.*.self_attn.v_proj.weight"}}},
          {"h.*.attn.c_attn.bias",
           {{"model.layers.*.self_attn.q_proj.bias", form},
            {"model.layers.*.self_attn.k_proj.bias", form},
            {"model.layers.*.self_attn.v_proj.bias"}}},
          {"h.*.attn.q_norm.weight", {{"model.layers.*.self_attn.q_norm.weight"}}},
          {"h.*.attn.k_norm.weight", {{"model.layers.*.self_attn.k_norm.weight"}}},
          {"h.*.attn.c_proj.weight", {{"model.layers.*.self_attn.o_proj.weight"}}},
          {"h.*.attn.c_proj.bias", {{"model.layers.*.self_attn.o_proj.bias"}}},
          {"h.*.ln_2.weight", {{"model.layers.*.post_attention_layernorm.weight"}}},
          {"ln_f.weight", {{"model.norm.weight"}}},
          {"lm_head.weight", {{"lm_head.weight"}}}};
}

Naming make_transformers_llama() {
  Naming naming{.rules = transformers_rules(Form::kSame),
                .ignored = {"model.layers.*.self_attn.rotary_emb.inv_freq"},
                .prefix = "model."};
  naming.rules.insert(
      naming.rules.end(),
      {{"h.*.mlp.c_fc.weight",
        {{"model.layers.*.mlp.gate_proj.weight"}, {"model.layers.*.mlp.up_proj.weight"}}},
       {"h.*.mlp.c_fc.bias",
        {{"model.layers.*.mlp.gate_proj.bias"}, {"model.layers.*.mlp.up_proj.bias"}}},
       {"h.*.mlp.c_proj.weight", {{"model.layers.*.mlp.down_proj.weight"}}},
       {"h.*.mlp.c_proj.bias", {{"model.layers.*.mlp.down_proj.bias"}}}});
  return naming;
}

Naming make_transformers_nanochat() {
  Naming naming{.rules = transformers_rules(Form::kHalvesSwapped), .prefix = "model."};
  naming.rules.insert(naming.rules.end(),
                      {{"h.*.mlp.c_fc.weight", {{"model.layers.*.mlp.fc1.weight"}}},
                       {"h.*.mlp.c_proj.weight", {{"model.layers.*.mlp.fc2.weight"}}}});
  return naming;
}

Naming make_gguf_gpt2() {
  return {.rules = {{"wte.weight", {{"token_embd.weight"}}},
                    {"wpe.weight", {{"position_embd.weight"}}},
                    {"h.*.ln_1.weight", {{"blk.*.attn_norm.weight"}}},
                    {"h.*.ln_1.bias", {{"blk.*.attn_norm.bias"}}},
                    {"h.*.attn.c_attn.weight", {{"blk.*.attn_qkv.weight"}}},
                    {"h.*.attn.c_attn.bias", {{"blk.*.attn_qkv.bias"}}},
                    {"h.*.attn.c_proj.weight", {{"blk.*.attn_output.weight"}}},
                    {"h.*.attn.c_proj.bias", {{"blk.*.attn_output.bias"}}},
                    {"h.*.ln_2.weight", {{"blk.*.ffn_norm.weight"}}},
                    {"h.*.ln_2.bias", {{"blk.*.ffn_norm.bias"}}},
                    {"h.*.mlp.c_fc.weight", {{"blk.*.ffn_up.weight"}}},
                    {"h.*.mlp.c_fc.bias", {{"blk.*.ffn_up.bias"}}},
                    {"h.*.mlp.c_proj.weight", {{"blk.*.ffn_down.weight"}}},
                    {"h.*.mlp.c_proj.bias", {{"blk.*.ffn_down.bias"}}},
                    {"ln_f.weight", {{"output_norm.weight"}}},
                    {"ln_f.bias", {{"output_norm.bias"}}},
                    {"lm_head.weight", {{"output.weight"}}}}};
}

/// `form` is that of queries and keys.
Naming make_gguf_llama(Form form) {
  return {
      .rules = {
          {"wte.weight", {{"token_embd.weight"}}},
          {"h.*.ln_1.weight", {{"blk.*.attn_norm.weight"}}},
          {"h.*.attn.c_attn.weight",
           {{"blk.*.attn_q.weight", form}, {"blk.*.attn_k.weight", form}, {"blk.*.attn_v.weight"}}},
          {"h.*.attn.q_norm.weight", {{"blk.*.attn_q_norm.weight"}}},
          {"h.*.attn.k_norm.weight", {{"blk.*.attn_k_norm.weight"}}},
          {"h.*.attn.c_proj.weight", {{"blk.*.attn_output.weight"}}},
          {"h.*.ln_2.weight", {{"blk.*.ffn_norm.weight"}}},
          {"h.*.mlp.c_fc.weight", {{"blk.*.ffn_gate.weight"}, {"blk.*.ffn_up.weight"}}},
          {"h.*.mlp.c_proj.weight", {{"blk.*.ffn_down.weight"}}},
          {"ln_f.weight", {{"output_norm.weight"}}},
          {"lm_head.weight", {{"output.weight"}}}}};
}

}  // namespace

const Naming& transformers_naming(std::string_view model_type) {
  static const Naming gpt2 = make_transformers_gpt2(), llama = make_transformers_llama(),
                      nanochat = make_transformers_nanochat();
  if (model_type == "gpt2") return gpt2;
  if (model_type == "llama" || model_type == "qwen3") return llama;
  if (model_type == "nanochat") return nanochat;
  fail("transformers' {} has no table of names", model_type);
}

const Naming& gguf_naming(std::string_view architecture) {
  static const Naming gpt2 = make_gguf_gpt2(), llama = make_gguf_llama(Form::kPairsTogether),
                      qwen3 = make_gguf_llama(Form::kSame);
  if (architecture == "gpt2") return gpt2;
  if (architecture == "llama") return llama;
  if (architecture == "qwen3") return qwen3;
  fail("llama.cpp's {} has no table of names", architecture);
}

const Naming& llm_c_naming() {
  static const Naming own = [] {
    Naming naming;
    for (const TensorRule& rule : transformers_naming("gpt2").rules) {
      naming.rules.push_back({rule.ours, {{rule.ours}}});
    }
    return naming;
  }();
  return own;
}

}  // namespace cllm::io
