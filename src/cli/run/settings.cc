#include "cllm/cli/run/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>

#include "cllm/base/error.h"
#include "cllm/corpus/cooccurrence.h"
#include "cllm/train/replicas.h"
#include "cllm/train/work_sharing.h"

namespace cllm::cli {
namespace {

/// OpenBLAS has buffers for as many.
constexpr std::uint64_t kMostTeamThreads = 64;

/// What fits into a number of steps with any data.
constexpr double kMostEpochs = 1e6;

/// Room of a thread's recorder: some steps of a model with a hundred layers.
constexpr std::size_t kTraceEvents = std::size_t{1} << 16;

/// Seconds that the watchdog bears: above the 9 that Open MPI's keep-alive (docs/faults.md) takes.
constexpr double kLeastSilence = 10;

/// The whole of `text` as a number, or nothing.
bool read_number(std::string_view text, std::uint64_t& number) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  return code == std::errc() && end == text.data() + text.size();
}

/// The whole of `text` as seconds, written as "1h30m", "45s" or the like; or false.
bool read_duration(std::string_view text, double& seconds) {
  seconds = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size() - 1);
    const std::string_view unit = rest.substr(digits, 1);
    std::uint64_t count = 0;
    const double factor = unit == "h" ? 3600 : unit == "m" ? 60 : unit == "s" ? 1 : 0;
    if (factor == 0 || !read_number(rest.substr(0, digits), count)) return false;
    seconds += factor * static_cast<double>(count);
    rest.remove_prefix(digits + 1);
  }
  return !text.empty();
}

/// Whether `text` is `yes`, else `no`. Throws Error, naming the option, for another word.
bool is_first_of(const std::string& text, const char* option, const char* yes, const char* no) {
  if (text != yes && text != no) fail("{} {}: choose {} or {}", option, text, yes, no);
  return text == yes;
}

std::string preset_names() {
  std::string names;
  for (const model::Preset& preset : model::presets()) {
    names += fmt::format("{}{}", names.empty() ? "" : "|", preset.name);
  }
  return names;
}

bool is_file_path(const std::string& value, std::initializer_list<std::string_view> words) {
  return !value.empty() && std::ranges::find(words, std::string_view(value)) == words.end();
}

/// Adds options to a group of the help text.
auto group(CLI::App& app, const char* name) {
  return [&app, name](const char* option, auto& variable, const std::string& help) {
    return add_option(app, option, variable, help)->group(name);
  };
}

void make_absolute(std::string& path) { path = std::filesystem::absolute(path).string(); }

}  // namespace

void declare_model_options(CLI::App& app, TrainSettings& s) {
  const auto model = group(app, "Model");
  model("--preset", s.preset, preset_names())->type_name("NAME")->capture_default_str();
  model("--layers", s.shape.layers, "transformer layers [the preset's]")->type_name("N");
  model("--heads", s.shape.heads, "attention heads [the preset's]")->type_name("N");
  model("--channels", s.shape.channels, "width of the model [the preset's]")->type_name("N");
  model("--context", s.shape.context, "tokens of a sequence [the preset's]")->type_name("N");
  model("--embedding-rank", s.embedding_rank, "width of a reduced token table, or dense [dense]")
      ->type_name("R");
}

void declare_machine_options(CLI::App& app, TrainSettings& s) {
  const auto machine = group(app, "Machine");
  machine("--threads", s.threads, "threads of each rank [its share of the host's processors]")
      ->type_name("N");
  machine("--team", s.team, "threads that share a micro-batch: auto or N")
      ->type_name("K")
      ->capture_default_str();
  machine("--allreduce", s.allreduce, "auto|mpi|ring|flat: how ranks add up gradients")
      ->type_name("KIND")
      ->capture_default_str();
}

void declare_train_options(CLI::App& app, TrainSettings& s) {
  const auto data = group(app, "Data");
  data("--data", s.data, "text FILE, DIR of text files, token FILE, or builtin")
      ->type_name("PATH")
      ->capture_default_str();
  data("--validation-data", s.validation_data,
       "text or token FILE to validate on (else the last tenth of --data)")
      ->type_name("PATH");
  data("--tokenizer", s.tokenizer,
       "bytes, bpe:N, unigram:N, or a SentencePiece FILE.model [bytes, or a token file's own]")
      ->type_name("KIND");

  declare_model_options(app, s);

  const auto model = group(app, "Model");
  model("--embedding-init", s.embedding_init,
        "corpus|random: where the token table starts [corpus where it is reduced or the vocabulary "
        "is at least eight times the channels]")
      ->type_name("KIND");
  model("--embedding-sample", s.embedding_sample,
        "tokens of the data, evenly spaced, that a start from the corpus reads, at most "
        "[100000000; fewer where the run is short]")
      ->type_name("N");
  model("--embedding-basis", s.embedding_basis,
        "lattice|orthonormal: the basis of codes from the corpus")
      ->type_name("KIND")
      ->capture_default_str();
  model("--embedding-rate", s.optimizer.embedding_learning_rate,
        "learning rate of the token table, times --lr [1; of codes 2 channels / R]")
      ->type_name("X");
  model("--rare-tokens", s.rare_tokens,
        "tokens seen fewer than N times start from tokens that share their pieces; 0: none")
      ->type_name("N")
      ->capture_default_str();

  const auto training = group(app, "Training");
  training("--steps", s.steps, "optimizer steps")->type_name("N")->capture_default_str();
  training("--epochs", s.epochs,
           "times to read the training data, such as 3 or 0.5, in place of --steps")
      ->type_name("X");
  training("--batch", s.batch, "sequences of a step, over all ranks")
      ->type_name("N")
      ->capture_default_str();
  training("--micro-batch", s.micro_batch,
           "sequences that go through the model together; the last of a batch may be fewer "
           "[from batch and context]")
      ->type_name("N");
  training("--seed", s.seed, "of initial weights and order of data")
      ->type_name("N")
      ->capture_default_str();
  training("--lr", s.learning_rate, "highest learning rate")->type_name("X")->capture_default_str();
  training("--min-lr", s.min_learning_rate, "learning rate at the end [a tenth of --lr]")
      ->type_name("X");
  training("--warmup", s.warmup, "steps of growing learning rate [a tenth of --steps, at most 100]")
      ->type_name("N");
  training("--schedule", s.schedule, "cosine|linear|wsd|constant")
      ->type_name("NAME")
      ->capture_default_str();
  training("--weight-decay", s.optimizer.weight_decay, "of matrices")
      ->type_name("X")
      ->capture_default_str();
  training("--beta1", s.optimizer.beta1, "AdamW's memory of gradients")
      ->type_name("X")
      ->capture_default_str();
  training("--beta2", s.optimizer.beta2, "AdamW's memory of their squares")
      ->type_name("X")
      ->capture_default_str();
  training("--clip", s.optimizer.clip, "largest norm of the gradient; 0 for no limit")
      ->type_name("X")
      ->capture_default_str();

  training("--token-block,--row-block", s.token_block,
           "positions of a micro-batch that one thread of a team takes at a time [from batch]")
      ->type_name("N");
  training("--reduce", s.reduce, "exact: gradients add up to the same bits on any machine; fp32")
      ->type_name("KIND")
      ->capture_default_str();

  training("--row-order", s.row_order,
           "token|ulam: the order of rows in which inputs are looked up; changes no result")
      ->type_name("KIND")
      ->capture_default_str();

  declare_machine_options(app, s);

  const auto run = group(app, "Run");
  run("--eval-every", s.evaluate_every, "steps between evaluations [a tenth of --steps]")
      ->type_name("N");
  run("--eval-sequences", s.evaluation_sequences, "sequences of an evaluation: N or all")
      ->type_name("N")
      ->capture_default_str();
  run("--out", s.out, "directory of the run [checkpoints/<time>-<preset>]")->type_name("DIR");
  run("--checkpoint-every", s.checkpoint_every, "steps (500) or time (30m); 0 for the end alone")
      ->type_name("N")
      ->capture_default_str();
  run("--keep", s.keep, "checkpoints to keep: the newest N, and the best; 0 for all")
      ->type_name("N")
      ->capture_default_str();
  run("--checkpoint-write", s.checkpoint_write,
      "background: train on while a copy is written; blocking: needs no memory for a copy")
      ->type_name("HOW")
      ->capture_default_str();
  run("--on-checkpoint-failure", s.on_checkpoint_failure,
      "continue|stop: what to do when a checkpoint can't be written")
      ->type_name("WHAT")
      ->capture_default_str();
  run("--resume", s.resume,
      "go on from a checkpoint FILE, the newest whole one in DIR, or of --out "
      "if there is one (auto)")
      ->type_name("PATH");
  run("--init-from", s.initial, "start a new run from the weights of a checkpoint FILE or DIR")
      ->type_name("PATH");
  run("--max-time", s.max_time,
      "save and end (exit code 75) so that all is done after 3h50m [until Slurm's end of the job]")
      ->type_name("TIME");
  run("--watchdog", s.watchdog,
      "auto|off|TIME: how long a rank may be silent before the job ends (exit code 76)")
      ->type_name("TIME")
      ->capture_default_str();
  run("--on-spike", s.on_spike,
      "skip|clip|rollback|stop: what to do when the gradient is far too large or not finite")
      ->type_name("WHAT")
      ->capture_default_str();
  run("--spike-factor", s.spike_factor,
      "times the recent median norm that is far too large; 0: only what isn't finite")
      ->type_name("X")
      ->capture_default_str();
  run("--check-replicas", s.check_replicas,
      "steps between comparisons of all ranks' weights; 0: never")
      ->type_name("N")
      ->capture_default_str();
  run("--on-replica-mismatch", s.on_replica_mismatch,
      "stop|restore: what to do when they differ; restore takes rank 0's if most ranks agree with "
      "it")
      ->type_name("WHAT")
      ->capture_default_str();
  run("--trace", s.trace, "record steps A to B in trace.json, for Perfetto or chrome://tracing")
      ->type_name("A:B");
  run("--config", s.config, "read options from a TOML file; the command line wins")
      ->type_name("FILE");
}

namespace {

/// Whether the option is there, and was given.
bool is_given(const CLI::App& app, const char* option) {
  const CLI::Option* declared = app.get_option_no_throw(option);
  return declared != nullptr && declared->count() > 0;
}

/// Puts in what derives from the number of steps.
void resolve_steps(const CLI::App& app, TrainSettings& s) {
  if (!is_given(app, "--warmup")) s.warmup = std::min<std::uint64_t>(100, s.steps / 10);
  if (!is_given(app, "--eval-every")) s.evaluate_every = std::max<std::uint64_t>(1, s.steps / 10);
  train::validate(trainer_options(s, s.threads).schedule);
  if (parse_trace(s.trace).last > s.steps) {
    fail("--trace {}: this run takes {} steps; give steps of it", s.trace, s.steps);
  }
}

}  // namespace

void resolve(const CLI::App& app, TrainSettings& s) {
  const auto given = [&](const char* option) { return is_given(app, option); };
  const model::ModelConfig& preset = model::find_preset(s.preset).shape;
  if (!given("--layers")) s.shape.layers = preset.layers;
  if (!given("--heads")) s.shape.heads = preset.heads;
  if (!given("--channels")) s.shape.channels = preset.channels;
  if (!given("--context")) s.shape.context = preset.context;
  model::ModelConfig shape = s.shape;
  shape.vocabulary = 1;  // is known once the data is
  if (given("--embedding-rank")) shape.embedding_rank = parse_embedding_rank(s.embedding_rank);
  if (given("--embedding-init")) parse_corpus_init(s.embedding_init);
  if (given("--embedding-sample") &&
      (s.embedding_sample < 1 || s.embedding_sample > corpus::kMostPlaces)) {
    fail("--embedding-sample {}: give a number of tokens from 1 to {}", s.embedding_sample,
         corpus::kMostPlaces);
  }
  parse_lattice_basis(s.embedding_basis);
  parse_ulam_order(s.row_order);
  model::validate(shape);
  train::check_micro_batch(s.batch, 1);
  if (!given("--micro-batch")) {
    s.micro_batch = train::default_micro_batch(s.batch, s.shape.context);
  }
  if (!given("--token-block")) {
    s.token_block =
        train::default_token_block(s.batch * s.shape.context, s.micro_batch * s.shape.context);
  }
  if (!given("--min-lr")) s.min_learning_rate = s.learning_rate / 10;
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
  parse_allreduce(s.allreduce);
  parse_trace(s.trace);
  parse_evaluation_sequences(s.evaluation_sequences);
  const Interval checkpoints = parse_interval(s.checkpoint_every);
  if (options.on_spike == train::OnSpike::kRollback && checkpoints.steps == 0) {
    fail(
        "--on-spike rollback goes back to checkpoints of certain steps; give --checkpoint-every {} "
        "as a number of steps",
        s.checkpoint_every);
  }
  parse_max_time(s.max_time);
  parse_watchdog(s.watchdog);
  parse_background(s.checkpoint_write);
  parse_stop_on_failure(s.on_checkpoint_failure);
  train::parse_on_mismatch(s.on_replica_mismatch);
  train::SpikeDetector(s.spike_factor);

  while (s.out.size() > 1 && s.out.ends_with('/')) s.out.pop_back();
  if (is_file_path(s.data, {"builtin"})) make_absolute(s.data);
  if (is_file_path(s.validation_data, {})) make_absolute(s.validation_data);
  if (s.tokenizer.ends_with(".model")) make_absolute(s.tokenizer);
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
          .schedule = {.decay = train::parse_decay(s.schedule),
                       .learning_rate = s.learning_rate,
                       .min_learning_rate = s.min_learning_rate,
                       .warmup = s.warmup,
                       .steps = s.steps},
          .batch = s.batch,
          .micro_batch = s.micro_batch,
          .token_block = std::min(s.token_block, s.micro_batch * s.shape.context),
          .reduce = train::parse_reduce(s.reduce),
          .on_spike = train::parse_on_spike(s.on_spike),
          .spike_factor = s.spike_factor,
          .threads = threads,
          .team = parse_team(s.team),
          .trace_events = s.trace.empty() ? 0 : kTraceEvents};
}

std::string config_toml(const CLI::App& app) {
  // What follows from other options is to follow from them again when one of those is changed.
  std::vector<std::string> derived = {"layers",         "heads",          "channels",
                                      "context",        "micro-batch",    "token-block",
                                      "min-lr",         "warmup",         "eval-every",
                                      "embedding-rank", "embedding-init", "embedding-sample",
                                      "embedding-rate"};
  if (app.count("--epochs") > 0) derived.emplace_back("steps");
  std::erase_if(derived, [&](const std::string& name) { return app.count("--" + name) > 0; });
  std::vector<std::string> omitted = {"help",      "version",  "config",   "out",  "resume",
                                      "init-from", "max-time", "watchdog", "trace"};
  // How many threads a rank has is the machine's business, unless it was asked for.
  if (app.count("--threads") == 0) omitted.emplace_back("threads");
  if (app.count("--epochs") == 0) omitted.emplace_back("epochs");
  return toml_of(app, omitted, derived);
}

ranks::Allreduce parse_allreduce(const std::string& text) {
  if (text == "auto") return ranks::Allreduce::kRing;
  for (const auto& [name, method] : ranks::kAllreduceNames) {
    if (text == name) return method;
  }
  fail("--allreduce {}: choose auto, mpi, ring or flat", text);
}

std::size_t parse_embedding_rank(const std::string& text) {
  if (text == "dense") return 0;
  std::uint64_t rank = 0;
  if (!read_number(text, rank) || rank < 1) {
    fail("--embedding-rank {}: give dense, or a rank from 1 to --channels", text);
  }
  return rank;
}

bool parse_corpus_init(const std::string& text) {
  return is_first_of(text, "--embedding-init", "corpus", "random");
}

bool parse_lattice_basis(const std::string& text) {
  return is_first_of(text, "--embedding-basis", "lattice", "orthonormal");
}

bool parse_ulam_order(const std::string& text) {
  return is_first_of(text, "--row-order", "ulam", "token");
}

int parse_team(const std::string& text) {
  if (text == "auto") return 0;
  std::uint64_t threads = 0;
  if (!read_number(text, threads) || threads < 1 || threads > kMostTeamThreads) {
    fail("--team {}: give auto, or a number of threads from 1 to {}", text, kMostTeamThreads);
  }
  return static_cast<int>(threads);
}

StepRange parse_trace(const std::string& text) {
  StepRange range;
  if (text.empty()) return range;
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view view = text;
  if (!read_number(view.substr(0, colon), range.first) ||
      !read_number(view.substr(std::min(colon + 1, text.size())), range.last) || range.first < 1 ||
      range.last < range.first) {
    fail("--trace {}: give the first and the last step, such as 10:12", text);
  }
  return range;
}

std::uint64_t parse_evaluation_sequences(const std::string& text) {
  if (text == "all") return 0;
  std::uint64_t count = 0;
  if (!read_number(text, count) || count < 1) {
    fail("--eval-sequences {}: give a number of sequences, or all", text);
  }
  return count;
}

Interval parse_interval(const std::string& text) {
  Interval interval;
  if (read_number(text, interval.steps)) return interval;
  interval.steps = 0;
  if (!read_duration(text, interval.seconds)) {
    fail("--checkpoint-every {}: give a number of steps, or a time such as 30m or 1h30m", text);
  }
  return interval;
}

double parse_max_time(const std::string& text) {
  if (text.empty()) return std::numeric_limits<double>::infinity();
  double seconds = 0;
  if (!read_duration(text, seconds)) fail("--max-time {}: give a time such as 3h50m or 45m", text);
  return seconds;
}

ranks::Patience parse_watchdog(const std::string& text) {
  if (text == "auto") return {};
  if (text == "off") return {.seconds = std::numeric_limits<double>::infinity(), .steps = 0};
  double seconds = 0;
  if (!read_duration(text, seconds) || seconds < kLeastSilence) {
    fail(
        "--watchdog {}: give auto, off, or a time of at least {:.0f}s, which a dead link takes to "
        "be found",
        text, kLeastSilence);
  }
  return {.seconds = seconds, .steps = 0};
}

bool parse_background(const std::string& text) {
  return is_first_of(text, "--checkpoint-write", "background", "blocking");
}

bool parse_stop_on_failure(const std::string& text) {
  return is_first_of(text, "--on-checkpoint-failure", "stop", "continue");
}

}  // namespace cllm::cli
