#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cllm/cli/arguments.h"
#include "cllm/cli/run/settings.h"
#include "cllm/data/dataset.h"
#include "cllm/model/config.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/placement.h"

namespace cllm::cli {

/// Where a run begins: the checkpoint that it goes on from, or takes its weights from.
struct StartingPoint {
  enum class Kind { kNew, kResumed, kInitial };

  Kind kind = Kind::kNew;
  std::string checkpoint;          ///< absolute; empty for a new run
  std::string config;              ///< the checkpoint's
  std::string state = "{}";        ///< the checkpoint's, as a JSON object; empty for a new run
  model::ModelConfig model;        ///< the checkpoint's
  std::string freeze;              ///< the checkpoint's: io::RunState
  std::string why;                 ///< this one: "the newest of 3"; empty where it was named
  std::vector<std::string> notes;  ///< on others that were passed over

  bool resumes() const { return kind == Kind::kResumed; }
};

/// The checkpoint that the settings ask to go on from: a file, or the newest whole one of a
/// directory. Kind::kNew where --resume auto finds none. On rank 0 alone. Throws Error.
StartingPoint find_resumed(const TrainSettings& settings);

/// The same for --init-from.
StartingPoint find_initial(const TrainSettings& settings);

/// How the token embedding came about, of a checkpoint's state: a JSON object
/// (docs/checkpoint_format.md), empty where the state doesn't say. Throws nlohmann::json::exception
/// where the state is no object.
std::string embedding_facts(const std::string& state);

/// The rules by which the run reads texts: those that it began with. Throws Error where its
/// checkpoint names none that are known.
data::TextRules text_rules_of(const StartingPoint& start);

/// As text and back, for the other ranks.
std::string to_json(const StartingPoint& start);
StartingPoint starting_point_from_json(const std::string& text);

/// Of the options in the checkpoint's configuration, those that a new run from its weights has too:
/// of shape and tokenizer.
Arguments inherited(const Arguments& stored);

/// Whether the embedding of such a model starts from the corpus if nothing else was asked for:
/// where it is factorised or the vocabulary is at least eight times the channels.
bool starts_from_corpus(const model::ModelConfig& shape);

/// Completes the model's shape once the vocabulary is known, and puts in what follows from it: the
/// rank of the token embedding, or its bands, is what was asked for, else the checkpoint's, else it
/// is dense; how it starts is by `starts_from_corpus`, and one of one rank learns 2 C / r times as
/// fast as the rest, if nothing else was asked for.
void resolve_embedding(const StartingPoint& start, const CLI::App& app, std::size_t vocabulary,
                       TrainSettings& settings);

/// Throws Error where an option says how a token embedding is to start that starts in another way,
/// or that comes from a checkpoint: it would do nothing.
void check_embedding_start(const StartingPoint& start, const TrainSettings& settings,
                           const CLI::App& app, bool has_tokenizer);

/// What the checkpoint of the starting point must agree with; on rank 0 alone. Throws Error that
/// has both values.
void check_agrees(const StartingPoint& start, const TrainSettings& settings,
                  const data::PreparedData& data);

/// A line on tensors of a model of `layout` that the run which is resumed didn't train; empty where
/// there is none.
std::string thawed_note(const StartingPoint& start, const model::Layout& layout);

/// A line for each thing that is not as it was when the checkpoint was written: options, data,
/// ranks and threads. `config` is that of the run that goes on.
std::vector<std::string> changes_since(const StartingPoint& start, const std::string& config,
                                       const CLI::App& app, const std::string& data_digest,
                                       const std::vector<ranks::Site>& sites);

/// What checkpoints say of how the run came about: a JSON object with "data", "text_rules",
/// "embedding" (`embedding`, an object: how the token embedding came about), "history", a list:
/// that of the starting point, and one object for this start; and "mixture" (Mixing::facts), unless
/// it is empty.
std::string run_facts(const StartingPoint& start, std::uint64_t first_step,
                      const TrainSettings& settings, const std::vector<ranks::Site>& sites,
                      const std::string& data_digest, const std::string& mixture,
                      const std::string& embedding);

/// Sets aside the checkpoints of the directory that are newer than `step`, and before that copies
/// the metrics: the run takes those steps anew. Returns a line for each. Throws Error.
std::vector<std::string> set_newer_aside(const std::filesystem::path& directory,
                                         std::uint64_t step);

}  // namespace cllm::cli
