#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cllm/cli/arguments.h"
#include "cllm/model/config.h"
#include "cllm/ranks/heartbeat.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/trainer.h"

namespace cllm::cli {

/// What a training run was asked for: the options as they stand on the command line, in --config,
/// or in the checkpoint that is resumed.
struct TrainSettings {
  std::string config;

  std::string data = "builtin";
  std::string validation_data;
  std::string tokenizer;  ///< empty: bytes, or what a token file carries

  std::string preset = "mini";
  model::ModelConfig shape;            ///< the preset's where no option says otherwise
  std::string embedding_rank;          ///< "dense" or a number; empty: dense, or the checkpoint's
  std::string embedding_init;          ///< "corpus" or "random"; empty: by rank and vocabulary
  std::uint64_t embedding_sample = 0;  ///< tokens; 0: from the run's length
  std::string embedding_basis = "lattice";
  std::uint64_t rare_tokens = 0;

  std::uint64_t steps = 2000;
  double epochs = 0;  ///< times that the training data are read; where given, steps follow
  std::size_t batch = 16;
  std::size_t micro_batch = 0;
  std::uint64_t seed = 1;

  double learning_rate = 1e-3;
  double min_learning_rate = 1e-4;
  std::uint64_t warmup = 100;
  std::string schedule = "cosine";
  train::OptimizerOptions optimizer;

  int threads = 0;  ///< 0: the processors of this rank
  std::string team = "auto";
  std::size_t token_block = 0;  ///< 0: from batch and micro-batch
  std::string reduce = "exact";
  std::string row_order = "token";
  std::string allreduce = "auto";
  std::string trace;  ///< "A:B", or empty

  std::uint64_t evaluate_every = 0;
  std::string evaluation_sequences = "256";

  std::string out;
  std::string checkpoint_every = "30m";
  std::uint64_t keep = 0;
  std::string checkpoint_write = "background";
  std::string on_checkpoint_failure = "continue";
  std::string resume;
  std::string initial;  ///< --init-from
  std::string max_time;
  std::string watchdog = "auto";

  std::string on_spike = "clip";
  double spike_factor = 10;
  std::uint64_t check_replicas = 0;
  std::string on_replica_mismatch = "stop";
};

/// Declares the options of a training run on `app`, bound to `settings`, which must outlive it.
void declare_train_options(CLI::App& app, TrainSettings& settings);

/// The part of them that says what the model is, and on what it runs.
void declare_model_options(CLI::App& app, TrainSettings& settings);
void declare_machine_options(CLI::App& app, TrainSettings& settings);

/// Puts in what was left to be derived from other options (the preset's shape, micro-batch, minimal
/// rate, warm-up, evaluation interval) and makes paths absolute.
/// Throws Error, naming the option, for values that make no sense.
void resolve(const CLI::App& app, TrainSettings& settings);

/// To be called when the data are known: where --epochs was given, puts in the steps that it takes
/// to read so many times `sequences` of training data, and what derives from them. Throws Error,
/// naming the option.
void resolve_epochs(const CLI::App& app, TrainSettings& settings, std::uint64_t sequences);

/// What the trainer needs of them; `threads` of this rank.
train::TrainerOptions trainer_options(const TrainSettings& settings, int threads);

/// The settings as TOML that --config reads, with what was derived as comments; without what
/// belongs to this start of the run alone.
std::string config_toml(const CLI::App& app);

/// The method that --allreduce means; "auto" is the one that measured best. Throws Error,
/// naming the option.
ranks::Allreduce parse_allreduce(const std::string& text);

/// --embedding-rank's value: "dense" is 0. Throws Error, naming --embedding-rank.
std::size_t parse_embedding_rank(const std::string& text);

/// Whether --embedding-init's value is "corpus", else "random". Throws Error, naming it.
bool parse_corpus_init(const std::string& text);

/// Whether --embedding-basis's value is "lattice", else "orthonormal". Throws Error, naming it.
bool parse_lattice_basis(const std::string& text);

/// Whether --row-order's value is "ulam", else "token". Throws Error, naming it.
bool parse_ulam_order(const std::string& text);

/// --team's value: "auto" is 0. Throws Error, naming --team.
int parse_team(const std::string& text);

/// Steps to trace, both included; 0:0 for an empty text. Throws Error, naming --trace.
struct StepRange {
  std::uint64_t first = 0, last = 0;
};
StepRange parse_trace(const std::string& text);

/// Sequences to evaluate on: "all" is 0. Throws Error, naming --eval-sequences.
std::uint64_t parse_evaluation_sequences(const std::string& text);

/// "500" is a number of steps, "30m" or "1h30m" or "45s" a time. One of the two is 0; both for "0":
/// only at the end. Throws Error, naming --checkpoint-every.
struct Interval {
  std::uint64_t steps = 0;
  double seconds = 0;
};
Interval parse_interval(const std::string& text);

/// Seconds of "3h50m"; infinite for an empty text. Throws Error, naming --max-time.
double parse_max_time(const std::string& text);

/// The patience that --watchdog means: "auto", "off" or a time. Throws Error, naming it.
ranks::Patience parse_watchdog(const std::string& text);

/// Whether --checkpoint-write's value is "background", else "blocking". Throws Error, naming it.
bool parse_background(const std::string& text);

/// Whether --on-checkpoint-failure's value is "stop", else "continue". Throws Error, naming it.
bool parse_stop_on_failure(const std::string& text);

}  // namespace cllm::cli
