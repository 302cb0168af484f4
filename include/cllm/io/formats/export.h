#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cllm/io/checkpoint.h"
#include "cllm/io/formats/element_type.h"
#include "cllm/model/layout.h"

namespace cllm::io {

/// A model that is to be written for other programs. Views; they must outlive the call.
struct ExportedModel {
  const RunState& run;
  const model::Layout& layout;        ///< of run.model
  std::span<const float> parameters;  ///< a flat buffer of the layout
  std::string name;                   ///< of the checkpoint, for people and in errors
};

/// What was written.
struct ExportReport {
  std::string architecture;        ///< of the other program
  std::uint64_t tensor_bytes = 0;  ///< of all tensors
  std::vector<std::string> notes;  ///< a sentence each on what is otherwise than in the checkpoint
};

// All throw Error, one sentence: where no architecture there has all parts of the model, which
// names the parts; where its tokenizer can't be written; and where a file can't. What appears is
// whole, and nothing that exists is overwritten. Tensors are made and written a row at a time.

/// A directory that transformers' AutoModelForCausalLM and AutoTokenizer open. `type` is kF32, kF16
/// or kBf16; files of weights have at most `shard_bytes` each.
ExportReport export_transformers(const std::filesystem::path& directory, const ExportedModel& model,
                                 ElementType type, std::uint64_t shard_bytes);

/// A directory that PEFT opens beside the base model in transformers: the adapters of a model that
/// has some, alone (adapter_config.json and adapter_model.safetensors). `type` as above; `base`:
/// the base model as PEFT is to find it, or empty. Where one module there is several of our
/// matrices (GPT-2's c_attn), their adapters become one, of the sum of their ranks.
ExportReport export_adapters(const std::filesystem::path& directory, const ExportedModel& model,
                             ElementType type, const std::string& base);

/// A GGUF file that llama.cpp opens. Vectors and the table of positions stay f32; a matrix whose
/// rows aren't whole blocks of a quantised type is stored as f16, which a note says.
ExportReport export_gguf(const std::filesystem::path& path, const ExportedModel& model,
                         ElementType type);

}  // namespace cllm::io
