#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "cllm/cli/arguments.h"
#include "cllm/data/mixture.h"
#include "cllm/data/tokenizer.h"
#include "cllm/model/config.h"
#include "cllm/model/freeze.h"
#include "cllm/ranks/heartbeat.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/goal.h"
#include "cllm/train/replicas.h"
#include "cllm/train/trainer.h"

namespace cllm::cli {

/// The first and the last step of some; none where both are 0.
struct StepRange {
  std::uint64_t first = 0, last = 0;
};

/// A number of steps or a time: one of the two is 0. Both are for "at the end alone".
struct Interval {
  std::uint64_t steps = 0;
  double seconds = 0;
};

/// What a new token embedding starts from.
enum class EmbeddingStart { kCorpus, kRandom };

/// The basis of a factorised token embedding that starts from the corpus.
enum class EmbeddingBasis { kLattice, kOrthonormal };

/// What --embedding-bands asks for: some, none, or those of model::usual_bands.
struct BandsChoice {
  bool usual = false;
  model::EmbeddingBands bands = {};
};

/// What a training run was asked for: the options as they stand on the command line, in --config,
/// or in the checkpoint that is resumed.
struct TrainSettings {
  std::string config;

  std::vector<data::DataSource> data = {{.path = "builtin"}};
  std::string validation_data;
  std::string document_separator;  ///< empty: a file of plain text is one document
  std::string tokenizer;           ///< empty: bytes, or what a token file carries
  data::SpecialTokens special_tokens = data::SpecialTokens::kEndOfText;
  bool packs_documents = false;  ///< rows begin with documents; else they are windows
  bool learns_prompts = false;   ///< every token counts; else completions do, where there are any
  bool attends_across = true;    ///< attention sees all of a row; else a document sees itself

  std::string preset = "mini";
  std::string family;                             ///< empty: the preset's
  model::ModelConfig shape;                       ///< the preset's where no option says otherwise
  BandsChoice embedding_bands;                    ///< become the shape's with the vocabulary
  std::optional<EmbeddingStart> embedding_start;  ///< nothing: by rank and vocabulary
  std::uint64_t embedding_sample = 0;             ///< tokens; 0: from the run's length
  EmbeddingBasis embedding_basis = EmbeddingBasis::kLattice;
  std::uint64_t rare_tokens = 0;

  std::uint64_t steps = 2000;
  double epochs = 0;  ///< times that the training data are read; where given, steps follow
  std::size_t batch = 16;
  std::size_t micro_batch = 0;
  std::uint64_t seed = 1;

  // 0, nothing or empty: what is usual with the optimizer, or follows from the steps.
  double learning_rate = 0;
  double min_learning_rate = 0;
  std::uint64_t warmup = 0;
  std::optional<train::Decay> decay;
  double decay_part = train::Schedule().decay_part;
  train::OptimizerOptions optimizer = {.name = ""};
  model::Freeze freeze;
  std::size_t lora_rank = 0;  ///< 0: no adapters
  double lora_alpha = 0;      ///< 0: from the rank
  std::string lora_targets;   ///< empty: all

  int threads = 0;                         ///< 0: the processors of this rank
  int team = 0;                            ///< 0: what ends soonest
  std::size_t token_block = 0;             ///< 0: from batch and micro-batch
  std::optional<std::uint64_t> recompute;  ///< layers; nothing: as few as memory allows
  train::Reduce reduce = train::Reduce::kExact;
  ranks::Allreduce allreduce = ranks::Allreduce::kAuto;
  std::optional<bool>
      shard;             ///< the optimizer's state between ranks; nothing: where sums are exact
  std::string products;  ///< of kernels::all_products; empty: the usual ones
  StepRange trace;

  std::uint64_t evaluate_every = 0;
  std::uint64_t evaluation_sequences = 256;  ///< 0: all

  std::string out;
  Interval checkpoint_every = {.seconds = 1800};
  std::uint64_t keep = 0;
  bool saves_in_background = true;  ///< else training waits
  bool stop_when_saving_fails = false;
  bool tensorboard = true;  ///< event files beside metrics.jsonl
  double target_loss = 0;   ///< see train::Goal, as of the next
  std::uint64_t patience = 0;
  std::uint64_t sample_every = 0;  ///< steps; 0: never
  std::string sample_prompt;       ///< empty: the beginning of a document
  std::uint64_t sample_tokens = 64;
  std::uint64_t norms_every = 50;  ///< steps; 0: never
  std::string resume;
  std::string initial;      ///< --init-from
  bool fine_tunes = false;  ///< a new run begins with the weights of a model that is trained
  double max_time = std::numeric_limits<double>::infinity();  ///< seconds
  ranks::Patience watchdog;

  train::OnSpike on_spike = train::OnSpike::kClip;
  double spike_factor = 10;
  std::uint64_t check_replicas = 0;
  train::OnMismatch on_replica_mismatch = train::OnMismatch::kStop;
};

/// Declares the options of a training run on `app`, bound to `settings`, which must outlive it.
void declare_train_options(CLI::App& app, TrainSettings& settings);

/// The part of them that says what the model is, and on what it runs.
void declare_model_options(CLI::App& app, TrainSettings& settings);
void declare_part_options(CLI::App& app, TrainSettings& settings);
void declare_machine_options(CLI::App& app, TrainSettings& settings);

/// The part of them that says how the learning rate goes.
void declare_schedule_options(CLI::App& app, TrainSettings& settings);

/// The part of them that says what is told of a run while it goes on, and which losses end it.
void declare_progress_options(CLI::App& app, TrainSettings& settings);
/// Throws Error, naming the option, for values of these that make no sense.
void check_progress_options(const TrainSettings& settings);
/// When the run is complete. The steps are known.
train::Goal goal_of(const TrainSettings& settings);

/// The part of them that says which tensors are trained.
void declare_freeze_options(CLI::App& app, TrainSettings& settings);

/// The part of them that says which adapters there are.
void declare_lora_options(CLI::App& app, TrainSettings& settings);

/// Puts the adapters into the model, whose parts are known, and freezes all else. Throws Error,
/// naming the option.
void resolve_lora(const CLI::App& app, TrainSettings& settings);

/// The part of them that says which optimizer takes the steps.
void declare_optimizer_options(CLI::App& app, TrainSettings& settings);

/// The optimizer of runs that were begun before there was a choice.
inline constexpr const char* kFirstOptimizer = "adamw";

/// The optimizer of a new run, where none is asked for, and the rates that are usual with it, where
/// they aren't said.
void resolve_optimizer(const CLI::App& app, TrainSettings& settings);

/// Puts the bands that were asked for into the shape, whose vocabulary is known. Throws Error,
/// naming the option.
void resolve_bands(const CLI::App& app, TrainSettings& settings);

/// The options that say what the model is: "--preset", "--kv-heads", ….
std::vector<std::string> model_options();

/// Whether the option is there, and was given.
bool is_given(const CLI::App& app, const char* option);

/// Puts into the model what no option says: it is `base`'s, that of a checkpoint, or else the
/// preset's and the family's. Throws Error, naming the option.
void resolve_model(const CLI::App& app, const std::optional<model::ModelConfig>& base,
                   TrainSettings& settings);

/// Puts in what was left to be derived from other options (the model's shape and parts,
/// micro-batch, minimal rate, warm-up, evaluation interval) and makes paths absolute. What no
/// option says of the model is `base`'s, that of a checkpoint, or else the preset's and the
/// family's. Throws Error, naming the option, for values that make no sense.
void resolve(const CLI::App& app, TrainSettings& settings,
             const std::optional<model::ModelConfig>& base = {});

/// To be called when the data are known: where --epochs was given, puts in the steps that it takes
/// to read so many times `sequences` of training data, and what derives from them. Throws Error,
/// naming the option.
void resolve_epochs(const CLI::App& app, TrainSettings& settings, std::uint64_t sequences);

/// What the trainer needs of them; `threads` of this rank.
train::TrainerOptions trainer_options(const TrainSettings& settings, int threads);

/// The settings as TOML that --config reads, with what was derived as comments; without what
/// belongs to this start of the run alone. `fine_tunes`: see TrainSettings.
std::string config_toml(const CLI::App& app, bool fine_tunes = false);

/// How --windows and --loss-on are written.
Format<bool> windows_format();
Format<bool> loss_format();

/// A time such as 3h50m, in seconds; infinitely many have no text.
Format<double> time_format();

/// "on" and "off".
Format<bool> switch_format();

/// The values of --reduce.
Format<train::Reduce> reduce_format();
/// Of --shard; nothing: auto.
Format<std::optional<bool>> shard_format();

/// How --special-tokens is read and written.
Format<data::SpecialTokens> special_tokens_format();

/// What --tokenizer and --special-tokens say; nothing where no tokenizer is asked for. Throws Error
/// where only the second is given.
std::optional<data::TokenizerSpec> tokenizer_spec(const std::string& tokenizer,
                                                  data::SpecialTokens specials);

/// The values of --eval-sequences: "all" is 0.
Format<std::uint64_t> sequences_format();

/// What a new token embedding starts from, as --embedding-init has it.
Format<std::optional<EmbeddingStart>> embedding_start_format();

}  // namespace cllm::cli
