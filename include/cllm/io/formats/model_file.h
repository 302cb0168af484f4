#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cllm/io/checkpoint.h"
#include "cllm/model/layout.h"

namespace cllm::io {

// A trained model, in whatever format it is stored: a checkpoint or compressed model of ours, a
// directory of transformers, a GGUF file, a checkpoint of llm.c. Commands read models by these
// functions and know no formats. All throw Error: one sentence that names a file.
//
// To add one: a file that reads it (tensors by name into a TensorArchive, and the ModelConfig), a
// table of names (naming_tables.cc), and a line in model_file.cc.

enum class ModelFormat { kCheckpoint, kTransformers, kGguf, kLlmC };

/// Which one it is, by its content: a directory with a config.json, a file by its first bytes. What
/// none is recognised in is taken for a checkpoint.
ModelFormat format_of(const std::filesystem::path& path);

/// All of a model but its weights.
struct ModelHead {
  /// Of other programs' models: steps, configuration and state are none, and the tokenizer where
  /// there is one that we read.
  RunState run;
  std::string format;          ///< for people: "checkpoint", "transformers (llama)"
  std::string tokenizer_note;  ///< why there is no tokenizer, a clause; empty where there is one
};

/// Of another program's, all tensors' names, shapes and types are checked, so that flat buffers of
/// the model's layout aren't larger than the file justifies.
ModelHead read_model_head(const std::filesystem::path& path);

/// Fills a flat buffer of the layout, which is that of the head's model. Every value is finite.
void read_model_weights(const std::filesystem::path& path, const model::Layout& layout,
                        std::span<float> parameters);

/// The tensors of another program's model as its files have them, by name: of each the path is the
/// name and the digest that of its bytes.
std::vector<TensorSummary> list_foreign_tensors(const std::filesystem::path& path);

}  // namespace cllm::io
