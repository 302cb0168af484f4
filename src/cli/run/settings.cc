#include "cllm/cli/run/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "cllm/base/error.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/recompute.h"
#include "cllm/corpus/cooccurrence.h"
#include "cllm/kernels/products.h"
#include "cllm/train/replicas.h"
#include "cllm/train/work_sharing.h"

namespace cllm::cli {
namespace {

/// OpenBLAS has buffers for as many.
constexpr int kMostTeamThreads = 64;

/// What fits into a number of steps with any data.
constexpr double kMostEpochs = 1e6;

/// Room of a thread's recorder: some steps of a model with a hundred layers.
constexpr std::size_t kTraceEvents = std::size_t{1} << 16;

/// Seconds that the watchdog bears: above the 9 that Open MPI's keep-alive (docs/faults.md) takes.
constexpr double kLeastSilence = 10;

constexpr double kForever = std::numeric_limits<double>::infinity();

Format<Interval> interval_format() {
  return {.values = "N|TIME",
          .read =
              [](const std::string& text) {
                if (const auto steps = read_number<std::uint64_t>(text)) {
                  return Interval{.steps = *steps};
                }
                const auto seconds = read_duration(text);
                if (!seconds) fail("give a number of steps, or a time such as 30m or 1h30m");
                return Interval{.seconds = *seconds};
              },
          .write =
              [](const Interval& interval) {
                return interval.seconds > 0 ? write_duration(interval.seconds)
                                            : fmt::format("{}", interval.steps);
              }};
}

Format<ranks::Patience> patience_format() {
  return {.values = "auto|off|TIME",
          .read = [](const std::string& text) -> ranks::Patience {
            if (text == "auto") return {};
            if (text == "off") return {.seconds = kForever, .steps = 0};
            const auto seconds = read_duration(text);
            if (!seconds || *seconds < kLeastSilence) {
              fail(
                  "give auto, off, or a time of at least {:.0f}s, which a dead link takes to "
                  "be found",
                  kLeastSilence);
            }
            return {.seconds = *seconds, .steps = 0};
          },
          .write = [](const ranks::Patience& patience) -> std::string {
            if (patience.steps > 0) return "auto";
            return std::isinf(patience.seconds) ? "off" : write_duration(patience.seconds);
          }};
}

Format<StepRange> step_range_format() {
  return {.values = "A:B",
          .read =
              [](const std::string& text) {
                const std::size_t colon = std::min(text.find(':'), text.size() - 1);
                const std::string_view view = text;
                const auto first = read_number<std::uint64_t>(view.substr(0, colon));
                const auto last = read_number<std::uint64_t>(view.substr(colon + 1));
                if (!first || !last || *first < 1 || *last < *first) {
                  fail("give the first and the last step, such as 10:12");
                }
                return StepRange{*first, *last};
              },
          .write =
              [](const StepRange& range) {
                return range.last == 0 ? "" : fmt::format("{}:{}", range.first, range.last);
              }};
}

Format<data::DataSource> source_format() {
  return {.values = "PATH[:WEIGHT]",
          .read = [](const std::string& text) { return data::parse_data_source(text); },
          .write = [](const data::DataSource& source) { return data::to_string(source); }};
}

bool is_file_path(const std::string& value, std::initializer_list<std::string_view> words) {
  return !value.empty() && std::ranges::find(words, std::string_view(value)) == words.end();
}

/// Adds options to a group of the help text.
auto group(CLI::App& app, const char* name) {
  return [&app, name](const char* option, auto& variable, const auto&... format_and_help) {
    return add_option(app, option, variable, format_and_help...)->group(name);
  };
}

void make_absolute(std::string& path) { path = std::filesystem::absolute(path).string(); }

}  // namespace

Format<double> time_format() {
  return {
      .values = "TIME",
      .read =
          [](const std::string& text) {
            const auto seconds = read_duration(text);
            if (!seconds) fail("give a time such as 3h50m or 45m");
            return *seconds;
          },
      .write = [](double seconds) { return std::isinf(seconds) ? "" : write_duration(seconds); }};
}

bool is_given(const CLI::App& app, const char* option) {
  const CLI::Option* declared = app.get_option_no_throw(option);
  return declared != nullptr && declared->count() > 0;
}

Format<train::Reduce> reduce_format() {
  return one_of<train::Reduce>({{"exact", train::Reduce::kExact}, {"fp32", train::Reduce::kFp32}});
}

Format<bool> windows_format() { return one_of<bool>({{"stream", false}, {"documents", true}}); }

Format<bool> loss_format() { return one_of<bool>({{"completions", false}, {"all", true}}); }

Format<std::uint64_t> sequences_format() {
  return count_or<std::uint64_t>("all", "a number of sequences");
}

Format<std::optional<EmbeddingStart>> embedding_start_format() {
  return one_of<std::optional<EmbeddingStart>>(
      {{"corpus", EmbeddingStart::kCorpus}, {"random", EmbeddingStart::kRandom}});
}

Format<data::SpecialTokens> special_tokens_format() {
  return one_of<data::SpecialTokens>(
      {{"endoftext", data::SpecialTokens::kEndOfText}, {"chatml", data::SpecialTokens::kChatMl}});
}

std::optional<data::TokenizerSpec> tokenizer_spec(const std::string& tokenizer,
                                                  data::SpecialTokens specials) {
  if (!tokenizer.empty()) return data::parse_tokenizer_spec(tokenizer, specials);
  if (specials == data::SpecialTokens::kEndOfText) return {};
  fail("--special-tokens: only a new tokenizer can be given some; give --tokenizer bpe:N too");
}

Format<std::string> products_format() {
  std::vector<std::pair<std::string_view, std::string>> names = {{"auto", ""}};
  for (const kernels::Products& each : kernels::all_products()) {
    names.emplace_back(each.name, each.name);
  }
  return one_of(names);
}

Format<std::optional<bool>> shard_format() {
  return one_of<std::optional<bool>>({{"auto", std::nullopt}, {"off", false}, {"on", true}});
}

void declare_machine_options(CLI::App& app, TrainSettings& s) {
  const auto machine = group(app, "Machine");
  machine("--threads", s.threads, "threads of each rank [its share of the host's processors]");
  machine("--team", s.team,
          count_or("auto", fmt::format("a number of threads from 1 to {}", kMostTeamThreads),
                   kMostTeamThreads),
          "threads that share a micro-batch");
  machine("--recompute", s.recompute, recompute_format(),
          "layers whose activations are computed again in backward, which saves their memory: auto "
          "is as few as the hosts' memory allows");
  machine("--allreduce", s.allreduce,
          one_of<ranks::Allreduce>({{"auto", ranks::Allreduce::kAuto},
                                    {"mpi", ranks::Allreduce::kMpi},
                                    {"ring", ranks::Allreduce::kRing},
                                    {"halving", ranks::Allreduce::kHalving},
                                    {"flat", ranks::Allreduce::kFlat}}),
          "how ranks add up gradients: auto is ring or halving, by what messages cost here");
  machine(
      "--shard", s.shard, shard_format(),
      "each rank keeps and updates its own part of the optimizer's state: auto does where there "
      "are several ranks and --reduce is exact");
  machine(
      "--products", s.products, products_format(),
      "code that computes matrix products: auto is the fastest of ours, which all give the same "
      "bits");
}

void declare_train_options(CLI::App& app, TrainSettings& s) {
  const auto data = group(app, "Data");
  add_list_option(app, "--data", s.data, source_format(),
                  "FILE of text or JSON lines, DIR of them, token FILE, or builtin; several times, "
                  "with weights, for a mixture")
      ->group("Data")
      ->capture_default_str();
  data("--validation-data", s.validation_data,
       "text or token FILE to validate on [the last tenth of --data]")
      ->type_name("PATH");
  data("--document-separator", s.document_separator,
       "what stands between the documents of a text file [nothing: a file is a document]",
       Blank::kText)
      ->type_name("TEXT");
  data("--tokenizer", s.tokenizer,
       "bytes, bpe:N, unigram:N, a tokenizer.json, a SentencePiece FILE.model, or a DIR with one "
       "[bytes, or a token file's own]")
      ->type_name("KIND");

  data("--special-tokens", s.special_tokens, special_tokens_format(),
       "special tokens of a new tokenizer: endoftext, <|endoftext|>; chatml, also <|im_start|> and "
       "<|im_end|>");

  data("--windows", s.packs_documents, windows_format(),
       "what a row is: a window of the stream of tokens, or whole documents, packed");
  data("--loss-on", s.learns_prompts, loss_format(),
       "which tokens count: those of completions and assistants, where there are prompts, or all");
  data("--attention-across-documents", s.attends_across, switch_format(),
       "whether a document in a row sees those before it; off: positions restart too");

  declare_model_options(app, s);
  declare_part_options(app, s);

  const auto model = group(app, "Model");
  model("--embedding-init", s.embedding_start, embedding_start_format(),
        "what the token embedding starts from: how tokens stand beside each other in the training "
        "data, or random numbers [corpus where it is factorised or the vocabulary is at least "
        "eight times the channels]");
  model("--embedding-sample", s.embedding_sample,
        "tokens of the data, evenly spaced, that a start from the corpus reads, at most "
        "[100000000; fewer where the run is short]");
  model("--embedding-basis", s.embedding_basis,
        one_of<EmbeddingBasis>(
            {{"lattice", EmbeddingBasis::kLattice}, {"orthonormal", EmbeddingBasis::kOrthonormal}}),
        "basis of a factorised token embedding that starts from the corpus: LLL-reduced, or "
        "orthonormal");
  model("--embedding-rate", s.optimizer.embedding_learning_rate,
        "learning rate of the token embedding, times --lr [1; 5 with an output layer of its own; "
        "factorised 2 channels / rank]");
  model("--rare-tokens", s.rare_tokens,
        "tokens seen fewer than N times start from tokens that share their pieces; 0 for none")
      ->capture_default_str();

  const auto training = group(app, "Training");
  training("--steps", s.steps, "optimizer steps of the whole run")->capture_default_str();
  training("--epochs", s.epochs,
           "times to read the training data, such as 3 or 0.5, in place of --steps");
  training("--batch", s.batch, "sequences of a step, over all ranks")->capture_default_str();
  training("--micro-batch", s.micro_batch,
           "sequences that go through the model together; the last of a batch may be fewer "
           "[from batch and context]");
  training("--seed", s.seed, "seed of the initial weights and of the order of data")
      ->capture_default_str();
  declare_schedule_options(app, s);
  training("--weight-decay", s.optimizer.weight_decay,
           "weight decay of matrices; biases and norms have none")
      ->capture_default_str();
  declare_optimizer_options(app, s);
  declare_freeze_options(app, s);
  declare_lora_options(app, s);
  training("--beta1", s.optimizer.beta1, "how slowly AdamW's mean of gradients changes")
      ->capture_default_str();
  training("--beta2", s.optimizer.beta2, "how slowly its mean of squared gradients changes")
      ->capture_default_str();
  training("--clip", s.optimizer.clip, "largest norm of the gradient; 0 for no limit")
      ->capture_default_str();

  training("--token-block,--row-block", s.token_block,
           "positions of a micro-batch that one thread of a team takes at a time [from batch]");
  training("--reduce", s.reduce, reduce_format(),
           "how gradients are added up: exact gives the same bits on any number of ranks and "
           "threads");

  declare_machine_options(app, s);

  const auto run = group(app, "Run");
  run("--eval-every", s.evaluate_every, "steps between evaluations [a tenth of --steps]");
  run("--eval-sequences", s.evaluation_sequences, sequences_format(), "sequences of an evaluation");
  declare_progress_options(app, s);
  run("--out", s.out, "directory of the run [checkpoints/<time>-<preset>]")->type_name("DIR");
  run("--checkpoint-every", s.checkpoint_every, interval_format(),
      "steps (500) or time (30m) between checkpoints; 0 for one at the end alone");
  run("--keep", s.keep, "checkpoints to keep: the newest N, and the best; 0 for all")
      ->capture_default_str();
  run("--checkpoint-write", s.saves_in_background,
      one_of<bool>({{"background", true}, {"blocking", false}}),
      "train on while a copy is written, or wait, which needs no memory for a copy");
  run("--on-checkpoint-failure", s.stop_when_saving_fails,
      one_of<bool>({{"continue", false}, {"stop", true}}),
      "what to do when a checkpoint can't be written");
  run("--tensorboard", s.tensorboard, one_of<bool>({{"on", true}, {"off", false}}),
      "event files for TensorBoard in the run's directory");
  run("--resume", s.resume,
      "go on from a checkpoint FILE, the newest whole one in DIR, or of --out if there is one "
      "(auto)")
      ->type_name("PATH");
  run("--init-from", s.initial, std::string("start a new run from the weights of a ") + kModelHelp)
      ->type_name("PATH");
  run("--max-time", s.max_time, time_format(),
      "end within this time, such as 3h50m, with everything saved (exit code 75) [the end of the "
      "Slurm job]");
  run("--watchdog", s.watchdog, patience_format(),
      "how long a rank may be silent before the job ends (exit code 76)");
  run("--on-spike", s.on_spike,
      one_of<train::OnSpike>({{"skip", train::OnSpike::kSkip},
                              {"clip", train::OnSpike::kClip},
                              {"rollback", train::OnSpike::kRollback},
                              {"stop", train::OnSpike::kStop}}),
      "what to do when the gradient is far too large or not finite");
  run("--spike-factor", s.spike_factor,
      "a gradient is far too large whose norm is X times the recent median; 0: only where it isn't "
      "finite")
      ->capture_default_str();
  run("--check-replicas", s.check_replicas,
      "steps between comparisons of all ranks' weights; 0 for never")
      ->capture_default_str();
  run("--on-replica-mismatch", s.on_replica_mismatch,
      one_of<train::OnMismatch>(
          {{"stop", train::OnMismatch::kStop}, {"restore", train::OnMismatch::kRestore}}),
      "what to do when they differ; restore takes rank 0's if most ranks agree with it");
  run("--trace", s.trace, step_range_format(),
      "record steps A to B in trace.json, for Perfetto or chrome://tracing");
  run("--config", s.config, "read options from a TOML file; the command line wins")
      ->type_name("FILE");
}

namespace {

/// Puts in what derives from the number of steps.
void resolve_steps(const CLI::App& app, TrainSettings& s) {
  if (!is_given(app, "--warmup")) {
    s.warmup = std::min<std::uint64_t>(100, s.fine_tunes ? s.steps * 3 / 100 : s.steps / 10);
  }
  if (!is_given(app, "--eval-every")) s.evaluate_every = std::max<std::uint64_t>(1, s.steps / 10);
  if (!is_given(app, "--sample-every") && is_given(app, "--sample-prompt")) {
    s.sample_every = s.evaluate_every;
  }
  train::validate(trainer_options(s, s.threads).schedule);
  if (s.trace.last > s.steps) {
    fail("--trace {}:{}: this run takes {} steps; give steps of it", s.trace.first, s.trace.last,
         s.steps);
  }
}

}  // namespace

void resolve(const CLI::App& app, TrainSettings& s, const std::optional<model::ModelConfig>& base) {
  const auto given = [&](const char* option) { return is_given(app, option); };
  resolve_model(app, base, s);
  if (given("--embedding-sample") &&
      (s.embedding_sample < 1 || s.embedding_sample > corpus::kMostPlaces)) {
    fail("--embedding-sample {}: give a number of tokens from 1 to {}", s.embedding_sample,
         corpus::kMostPlaces);
  }
  train::check_micro_batch(s.batch, 1);
  if (!given("--micro-batch")) {
    s.micro_batch = train::default_micro_batch(s.batch, s.shape.context);
  }
  if (!given("--token-block")) {
    s.token_block =
        train::default_token_block(s.batch * s.shape.context, s.micro_batch * s.shape.context);
  }
  resolve_optimizer(app, s);
  if (given("--epochs")) {
    if (!(s.epochs > 0 && s.epochs <= kMostEpochs)) {
      fail("--epochs {}: give a number above 0, up to {}", s.epochs, kMostEpochs);
    }
    if (given("--steps")) {
      fail("--steps {} and --epochs {}: each says how long the run is; give one of them", s.steps,
           s.epochs);
    }
  } else {
    resolve_steps(app, s);
  }
  if (s.threads < 0 || (given("--threads") && s.threads == 0)) {
    fail("--threads {}: give at least 1", s.threads);
  }
  const train::TrainerOptions options = trainer_options(s, s.threads);
  train::validate(options.optimizer);
  train::check_micro_batch(s.batch, s.micro_batch);
  train::check_token_block(s.token_block);
  if (s.on_spike == train::OnSpike::kRollback && s.checkpoint_every.steps == 0) {
    fail(
        "--on-spike rollback goes back to checkpoints of certain steps; give --checkpoint-every as "
        "a number of steps");
  }
  train::SpikeDetector(s.spike_factor);
  check_progress_options(s);

  while (s.out.size() > 1 && s.out.ends_with('/')) s.out.pop_back();
  for (data::DataSource& source : s.data) {
    if (is_file_path(source.path, {"builtin"})) make_absolute(source.path);
  }
  if (is_file_path(s.validation_data, {})) make_absolute(s.validation_data);
  if (data::names_tokenizer_file(s.tokenizer)) make_absolute(s.tokenizer);
}

void resolve_epochs(const CLI::App& app, TrainSettings& s, std::uint64_t sequences) {
  if (!is_given(app, "--epochs")) return;
  // The last step may read beyond; a fraction that rounding made is none.
  const double steps =
      s.epochs * static_cast<double>(sequences) / static_cast<double>(s.batch) * (1 - 1e-12);
  s.steps = static_cast<std::uint64_t>(std::ceil(steps));
  resolve_steps(app, s);
}

train::TrainerOptions trainer_options(const TrainSettings& s, int threads) {
  return {.optimizer = s.optimizer,
          .schedule = {.decay = s.decay.value(),
                       .learning_rate = s.learning_rate,
                       .min_learning_rate = s.min_learning_rate,
                       .warmup = s.warmup,
                       .steps = s.steps,
                       .decay_part = s.decay_part},
          .batch = s.batch,
          .micro_batch = s.micro_batch,
          .token_block = std::min(s.token_block, s.micro_batch * s.shape.context),
          .recompute = s.recompute.value_or(0),
          .shard = s.shard.value_or(s.reduce == train::Reduce::kExact),
          .reduce = s.reduce,
          .on_spike = s.on_spike,
          .spike_factor = s.spike_factor,
          .threads = threads,
          .team = s.team,
          .trace_events = s.trace.last == 0 ? 0 : kTraceEvents,
          .norms_every = s.norms_every};
}

std::string config_toml(const CLI::App& app, bool fine_tunes) {
  // What follows from other options is to follow from them again when one of those is changed.
  std::vector<std::string> derived = {"micro-batch",      "token-block",    "min-lr",
                                      "warmup",           "eval-every",     "embedding-init",
                                      "embedding-sample", "embedding-rate", "width-scaling",
                                      "freeze",           "lora-alpha",     "sample-every"};
  for (const std::string& option : model_options()) {
    if (option != "--preset") derived.push_back(option.substr(2));
  }
  if (app.count("--epochs") > 0) derived.emplace_back("steps");
  // That of fine-tuning, which a run that goes on would not know of.
  if (fine_tunes) std::erase(derived, "warmup");
  std::erase_if(derived, [&](const std::string& name) { return app.count("--" + name) > 0; });
  std::vector<std::string> omitted = {"help",      "version",  "config",   "out",  "resume",
                                      "init-from", "max-time", "watchdog", "trace"};
  // How many threads a rank has is the machine's business, unless it was asked for.
  if (app.count("--threads") == 0) omitted.emplace_back("threads");
  if (app.count("--epochs") == 0) omitted.emplace_back("epochs");
  return toml_of(app, omitted, derived);
}

}  // namespace cllm::cli
