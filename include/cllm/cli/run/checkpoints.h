#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/data/dataset.h"
#include "cllm/io/checkpoint.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/model.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

/// What options say of a model that is there, in any format (io/formats/model_file.h).
inline constexpr const char* kModelHelp =
    "checkpoint FILE, DIR of a run, or a model of transformers (DIR), llama.cpp (GGUF FILE) or "
    "llm.c (FILE)";

/// The model that `path` means: itself if it is a file or another program's directory; of a run's
/// directory, the newest checkpoint in it. Throws Error naming `path` when there is none.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

/// Throws Error where `data`, the value of `option`, is a directory, and --out `out` lies in it.
void require_outside(const std::string& out, const char* option, const std::string& data);

/// All of a checkpoint but its tensors.
struct CheckpointHead {
  std::filesystem::path path;
  io::RunState run;
  std::string format = {};          ///< for people, on rank 0
  std::string tokenizer_note = {};  ///< why there is no tokenizer, a clause
};

/// Of the model that `path` means, which rank 0 alone reads; of `run` the other ranks have the
/// model, the tokenizer, the rows of tokens, the configuration and the state. All ranks call it
/// alike. Throws Error naming the file, on all alike.
CheckpointHead read_head(const std::filesystem::path& path, ranks::ProcessGroup& process_group);

/// Rank 0's io::RunState::token_rows, on all ranks, which all call it alike.
std::vector<std::uint32_t> token_rows_of_rank_0(std::vector<std::uint32_t> rows,
                                                ranks::ProcessGroup& process_group);

/// The rules by which the run of a checkpoint reads texts, from its `io::RunState::state`. Throws
/// Error naming the file where this version doesn't know them.
data::TextRules text_rules_in(const std::string& state, const std::filesystem::path& checkpoint);

/// A trained model, ready to use.
struct LoadedModel {
  /// Reads it all. Throws Error naming the file where it isn't whole.
  explicit LoadedModel(const std::filesystem::path& checkpoint);
  /// Without the parameters, which are still to be read. Throws Error naming the file.
  explicit LoadedModel(CheckpointHead head);

  /// Throws Error where there is none, so that tokens have no text.
  const data::Tokenizer& require_tokenizer() const;

  /// Data for the model, read as what it was trained on; tokens as rows of its embedding.
  data::DataPart load_part(const std::string& data, int threads) const;

  std::filesystem::path path;
  io::RunState run;
  std::string format;                          ///< for people
  std::string tokenizer_note;                  ///< why there is no tokenizer, a clause
  std::unique_ptr<data::Tokenizer> tokenizer;  ///< null where there is none
  const kernels::Kernels& kernels;
  model::Model model;
  AlignedBuffer<float> parameters;
};

/// The tokenizer that a checkpoint carries, or null: token files of other programs have none.
/// Throws Error naming the file when it doesn't fit the model.
std::unique_ptr<data::Tokenizer> tokenizer_of(const io::RunState& run,
                                              const std::filesystem::path& checkpoint);

}  // namespace cllm::cli
