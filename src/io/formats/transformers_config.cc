#include "transformers_config.h"

#include "checked_json.h"
#include "cllm/base/error.h"
#include "cllm/model/config_fields.h"
#include "cllm/model/families.h"

namespace cllm::io {
namespace {

using model::ModelConfig;

/// Throws Error unless the field is absent or has this value.
template <typename Value>
void require(const JsonFields& fields, const char* key, const Value& value) {
  if (!fields.has(key) || fields.value(key) == nlohmann::json(value)) return;
  fail("{} has {:?}: {}, and only models with {} can be read", fields.what(), key,
       fields.value(key).dump(-1, ' ', true).substr(0, 60), nlohmann::json(value).dump());
}

void require_one_of(const JsonFields& fields, const char* key,
                    std::initializer_list<std::string_view> values, std::string_view usual) {
  const std::string value = fields.text_or(key, std::string(usual));
  for (const std::string_view known : values) {
    if (value == known) return;
  }
  fail("{} has {:?}: {:?}, and only models with {:?} can be read", fields.what(), key, value,
       *values.begin());
}

ModelConfig read_gpt2(const JsonFields& fields) {
  require_one_of(fields, "activation_function", {"gelu_new", "gelu_pytorch_tanh"}, "gelu_new");
  require(fields, "scale_attn_weights", true);
  require(fields, "scale_attn_by_inverse_layer_idx", false);
  require(fields, "add_cross_attention", false);
  require(fields, "layer_norm_epsilon", model::Parts{}.norm_epsilon);
  ModelConfig config{.layers = fields.size("n_layer"),
                     .heads = fields.size("n_head"),
                     .channels = fields.size("n_embd"),
                     .context = fields.size("n_positions"),
                     .vocabulary = fields.size("vocab_size"),
                     .mlp_width = fields.size_or("n_inner", 0),
                     .family = "gpt2",
                     .parts = model::find_family("gpt2").parts};
  config.parts.tied = fields.flag_or("tie_word_embeddings", true);
  return config;
}

/// The base of rotary angles: of version 5 in "rope_parameters", of earlier ones beside the rest.
double read_rope(const JsonFields& fields) {
  const double usual = fields.number_or("rope_theta", model::Parts{}.rope_theta);
  double theta = usual;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!fields.has(key)) continue;
    const JsonFields rope = fields.object(key);
    require(rope, "rope_type", "default");
    require(rope, "type", "default");
    require(rope, "partial_rotary_factor", 1.0);
    theta = rope.number_or("rope_theta", theta);
  }
  require(fields, "partial_rotary_factor", 1.0);
  return theta;
}

/// Llama and what came after it.
ModelConfig read_llama(const JsonFields& fields, std::string_view family) {
  ModelConfig config{.layers = fields.size("num_hidden_layers"),
                     .heads = fields.size("num_attention_heads"),
                     .channels = fields.size("hidden_size"),
                     .context = fields.size("max_position_embeddings"),
                     .vocabulary = fields.size("vocab_size"),
                     .kv_heads = fields.size_or("num_key_value_heads", 0),
                     .head_size = fields.size_or("head_dim", 0),
                     .mlp_width = fields.size("intermediate_size"),
                     .family = model::find_family(family).name,
                     .parts = model::find_family(family).parts};
  config.parts.norm_epsilon = fields.number_or("rms_norm_eps", 1e-6);
  config.parts.rope_theta = read_rope(fields);
  config.parts.tied = fields.flag_or("tie_word_embeddings", false);
  const bool biases = fields.flag_or("attention_bias", false);
  if (family == "llama" && biases != fields.flag_or("mlp_bias", false)) {
    fail(
        "{} has biases in attention or in the MLP alone, and only models with both or neither can "
        "be read",
        fields.what());
  }
  if (family != "llama") require(fields, "attention_bias", false);
  config.parts.biases = biases;
  return config;
}

ModelConfig read_qwen3(const JsonFields& fields) {
  ModelConfig config = read_llama(fields, "qwen3");
  // The usual head of this model_type is not C / H.
  if (config.head_size == 0) config.head_size = 128;
  require(fields, "use_sliding_window", false);
  if (fields.has("layer_types")) {
    for (const nlohmann::json& type : fields.value("layer_types")) {
      if (type != "full_attention") {
        fail("{} has layers whose attention slides, and only full attention can be read",
             fields.what());
      }
    }
  }
  return config;
}

ModelConfig read_nanochat(const JsonFields& fields) {
  ModelConfig config = read_llama(fields, "nanochat");
  // null stands for none, which is not what a file without it has.
  config.parts.softcap = fields.is_null("final_logit_softcapping")
                             ? 0
                             : fields.number_or("final_logit_softcapping", 15);
  return config;
}

ModelConfig read_any(const JsonFields& fields, std::string_view type) {
  if (type == "gpt2") return read_gpt2(fields);
  require_one_of(fields, "hidden_act", {type == "nanochat" ? "relu2" : "silu"},
                 type == "nanochat" ? "relu2" : "silu");
  if (type == "llama") return read_llama(fields, "llama");
  if (type == "qwen3") return read_qwen3(fields);
  if (type == "nanochat") return read_nanochat(fields);
  fail("{} has the model_type {:?}; gpt2, llama, qwen3 and nanochat can be read", fields.what(),
       type);
}

}  // namespace

ModelConfig model_of_transformers(const nlohmann::json& json, const std::string& file) {
  const JsonFields fields(json, file);
  const std::string type = fields.text_or("model_type", "");
  const ModelConfig config = read_any(fields, type);
  try {
    model::validate(config);
  } catch (const Error& error) {
    fail("{} describes a model that can't be: {}", file, error.what());
  }
  return model::with_usual_sizes(config);
}

nlohmann::json transformers_config(const ModelConfig& config, std::string_view type) {
  nlohmann::json json = {{"model_type", type},
                         {"vocab_size", config.vocabulary},
                         {"tie_word_embeddings", config.parts.tied},
                         {"bos_token_id", nullptr},
                         {"eos_token_id", nullptr},
                         {"use_cache", true}};
  if (type == "gpt2") {
    json.update({{"architectures", {"GPT2LMHeadModel"}},
                 {"n_positions", config.context},
                 {"n_ctx", config.context},
                 {"n_embd", config.channels},
                 {"n_layer", config.layers},
                 {"n_head", config.heads},
                 {"n_inner", config.mlp_width},
                 {"layer_norm_epsilon", config.parts.norm_epsilon},
                 {"activation_function", "gelu_new"},
                 {"resid_pdrop", 0.0},
                 {"embd_pdrop", 0.0},
                 {"attn_pdrop", 0.0}});
    return json;
  }
  json.update(
      {{"hidden_size", config.channels},
       {"intermediate_size", config.mlp_width},
       {"num_hidden_layers", config.layers},
       {"num_attention_heads", config.heads},
       {"num_key_value_heads", config.kv_heads},
       {"head_dim", config.head_size},
       {"max_position_embeddings", config.context},
       {"rms_norm_eps", config.parts.norm_epsilon},
       // Version 5 reads the one, earlier versions the other.
       {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", config.parts.rope_theta}}},
       {"rope_theta", config.parts.rope_theta},
       {"attention_bias", config.parts.biases},
       {"attention_dropout", 0.0},
       {"hidden_act", type == "nanochat" ? "relu2" : "silu"}});
  if (type == "llama") {
    json.update({{"architectures", {"LlamaForCausalLM"}}, {"mlp_bias", config.parts.biases}});
  } else if (type == "qwen3") {
    json.update({{"architectures", {"Qwen3ForCausalLM"}}, {"use_sliding_window", false}});
  } else {
    json.update({{"architectures", {"NanoChatForCausalLM"}}});
    json["final_logit_softcapping"] =
        config.parts.softcap > 0 ? nlohmann::json(config.parts.softcap) : nlohmann::json();
  }
  return json;
}

}  // namespace cllm::io
