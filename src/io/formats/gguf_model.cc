#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "cllm/base/error.h"
#include "cllm/io/formats/gguf.h"
#include "cllm/model/families.h"
#include "foreign_model.h"
#include "gguf_tokenizer.h"

namespace cllm::io {
namespace {

using model::ModelConfig;

/// The keys of an architecture that are read; any other might change what the model computes.
constexpr std::array kKnown = {"context_length",
                               "embedding_length",
                               "block_count",
                               "feed_forward_length",
                               "vocab_size",
                               "attention.head_count",
                               "attention.head_count_kv",
                               "attention.key_length",
                               "attention.value_length",
                               "attention.layer_norm_epsilon",
                               "attention.layer_norm_rms_epsilon",
                               "rope.dimension_count",
                               "rope.freq_base",
                               "rope.scaling.type",
                               "expert_count",
                               "expert_used_count"};

/// 1e-5, say, as a float has it, becomes the double 1e-5.
double shortest(double value) {
  const std::string text = fmt::format("{}", static_cast<float>(value));
  double result = value;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

/// Keys of the file's architecture.
class Keys {
 public:
  explicit Keys(const GgufFile& file)
      : file_(file), architecture_(file.text("general.architecture")) {
    for (const std::string& key : file.keys()) {
      const std::string prefix = architecture_ + ".";
      if (!key.starts_with(prefix)) continue;
      if (std::ranges::find(kKnown, key.substr(prefix.size())) == kKnown.end()) {
        fail("{} has the key {:?}, and models with it can't be read", file.path(),
             key.substr(0, 80));
      }
    }
  }

  const std::string& architecture() const { return architecture_; }
  std::string name(const char* key) const { return fmt::format("{}.{}", architecture_, key); }
  bool has(const char* key) const { return file_.has(name(key)); }
  std::size_t size(const char* key) const { return file_.integer(name(key)); }
  std::size_t size_or(const char* key, std::size_t usual) const {
    return has(key) ? size(key) : usual;
  }
  double number(const char* key) const { return shortest(file_.number(name(key))); }

  /// Throws Error unless the key is absent or has this value.
  void require(const char* key, std::size_t value) const {
    if (!has(key) || size(key) == value) return;
    fail("{}: its {} is {}, and only models with {} can be read", file_.path(), name(key),
         size(key), value);
  }

 private:
  const GgufFile& file_;
  std::string architecture_;
};

ModelConfig read_config(const GgufFile& file, const Keys& keys) {
  const std::string& architecture = keys.architecture();
  if (architecture != "gpt2" && architecture != "llama" && architecture != "qwen3") {
    fail("{} is of the architecture {:?}; gpt2, llama and qwen3 can be read", file.path(),
         architecture.substr(0, 40));
  }
  const auto table = file.archive().tensors.find("token_embd.weight");
  if (table == file.archive().tensors.end()) {
    fail("{} lacks the tensor token_embd.weight", file.path());
  }
  const model::Family& family = model::find_family(architecture);
  ModelConfig config{.layers = keys.size("block_count"),
                     .heads = keys.size("attention.head_count"),
                     .channels = keys.size("embedding_length"),
                     .context = keys.size("context_length"),
                     .vocabulary = table->second.shape.front(),
                     .kv_heads = keys.size_or("attention.head_count_kv", 0),
                     .head_size = keys.size_or("attention.key_length", 0),
                     .mlp_width = keys.size("feed_forward_length"),
                     .family = family.name,
                     .parts = family.parts};
  config.parts.tied = !file.archive().tensors.contains("output.weight");
  keys.require("expert_count", 0);
  if (family.name == "gpt2") {
    config.parts.norm_epsilon = keys.number("attention.layer_norm_epsilon");
  } else {
    config.parts.norm_epsilon = keys.number("attention.layer_norm_rms_epsilon");
    if (keys.has("rope.freq_base")) config.parts.rope_theta = keys.number("rope.freq_base");
    if (keys.has("rope.scaling.type") && file.text(keys.name("rope.scaling.type")) != "none") {
      fail("{} scales its rotary positions, and only models that don't can be read", file.path());
    }
  }
  try {
    model::validate(config);
  } catch (const Error& error) {
    fail("{} describes a model that can't be: {}", file.path(), error.what());
  }
  config = model::with_usual_sizes(config);
  keys.require("attention.value_length", config.head_size);
  keys.require("rope.dimension_count", config.head_size);
  return config;
}

}  // namespace

ForeignModel open_gguf(const std::filesystem::path& path) {
  GgufFile file(path);
  const Keys keys(file);
  ForeignModel model;
  model.config = read_config(file, keys);
  model.format = fmt::format("GGUF ({})", keys.architecture());
  model.naming = gguf_naming(keys.architecture());
  read_gguf_tokenizer(file, model);
  model.archive = file.take_archive();
  return model;
}

}  // namespace cllm::io
