#include <fmt/format.h>

#include "architectures.h"
#include "cllm/base/error.h"
#include "cllm/io/formats/export.h"
#include "cllm/io/formats/gguf.h"
#include "gguf_tokenizer.h"
#include "naming.h"

namespace cllm::io {
namespace {

/// What general.file_type has for it.
std::uint32_t file_type_of(ElementType type) {
  switch (type) {
    case ElementType::kF32:
      return 0;
    case ElementType::kF16:
      return 1;
    case ElementType::kQ4_0:
      return 2;
    case ElementType::kQ8_0:
      return 7;
    case ElementType::kBf16:
      return 32;
  }
  fail("unknown type of weights");
}

void add_model(const model::ModelConfig& config, const std::string& architecture,
               GgufWriter& writer) {
  const auto key = [&](const char* rest) { return fmt::format("{}.{}", architecture, rest); };
  const auto add = [&](const char* rest, std::size_t value) {
    writer.add(key(rest), static_cast<std::uint32_t>(value));
  };
  add("context_length", config.context);
  add("embedding_length", config.channels);
  add("block_count", config.layers);
  add("feed_forward_length", config.mlp_width);
  add("vocab_size", config.vocabulary);
  add("attention.head_count", config.heads);
  const auto epsilon = static_cast<float>(config.parts.norm_epsilon);
  if (architecture == "gpt2") {
    writer.add(key("attention.layer_norm_epsilon"), epsilon);
    return;
  }
  add("attention.head_count_kv", config.kv_heads);
  add("attention.key_length", config.head_size);
  add("attention.value_length", config.head_size);
  add("rope.dimension_count", config.head_size);
  writer.add(key("rope.freq_base"), static_cast<float>(config.parts.rope_theta));
  writer.add(key("attention.layer_norm_rms_epsilon"), epsilon);
}

}  // namespace

ExportReport export_gguf(const std::filesystem::path& path, const ExportedModel& model,
                         ElementType type) {
  const model::ModelConfig& config = model.layout.config();
  ExportReport report{.architecture = std::string(llama_cpp_architecture(config)), .notes = {}};
  GgufWriter writer;
  writer.add("general.architecture", report.architecture);
  writer.add("general.name", model.name);
  writer.add("general.file_type", file_type_of(type));
  const bool is_quantised = block_elements(type) > 1;
  if (is_quantised) writer.add("general.quantization_version", std::uint32_t{2});
  add_model(config, report.architecture, writer);
  if (model.run.tokenizer_kind.empty()) {
    writer.add("tokenizer.ggml.model", "none");
    report.notes.emplace_back("the model has no tokenizer, and neither has the file");
  } else {
    const TokenizerTable table =
        tokenizer_table(model.run.tokenizer_kind, model.run.tokenizer_blob, model.name);
    add_gguf_tokenizer(table, config.vocabulary, model.name, writer);
    if (table.byte_level.normalises) {
      report.notes.emplace_back(
          "llama.cpp doesn't bring text to normalisation form C, as the tokenizer does; give it "
          "text "
          "that is");
    }
  }
  if (config.is_factorised()) {
    report.notes.emplace_back("the factorised token embedding is multiplied out to one matrix");
  }

  std::vector<OutgoingTensor> tensors =
      outgoing_tensors(gguf_naming(report.architecture), model.layout, model.parameters,
                       model.run.token_rows, type, ElementType::kF32);
  std::size_t uneven = 0;
  for (OutgoingTensor& tensor : tensors) {
    if (tensor.name == "position_embd.weight") tensor.type = ElementType::kF32;
    if (tensor.columns() % block_elements(tensor.type) != 0) {
      tensor.type = ElementType::kF16;
      ++uneven;
    }
    report.tensor_bytes += tensor.bytes();
  }
  if (uneven > 0) {
    report.notes.push_back(
        fmt::format("{} matrices are stored as f16: their rows are not whole blocks of {} numbers",
                    uneven, block_elements(type)));
  }
  writer.write(path, tensors);
  return report;
}

}  // namespace cllm::io
