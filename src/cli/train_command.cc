#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/processors.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/checkpoints.h"
#include "cllm/cli/commands.h"
#include "cllm/cli/program.h"
#include "cllm/data/builtin_corpus.h"
#include "cllm/data/dataset.h"
#include "cllm/io/checkpoint.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"
#include "cllm/train/placement.h"
#include "cllm/train/run.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using train::Collective;
using train::count_text;
using train::in_agreement;

/// Does `work` on rank 0 and gives its result to all. Where it throws, all ranks throw.
std::string on_rank_0(Collective& collective, const std::function<std::string()>& work) {
  std::string result;
  in_agreement(collective, [&] {
    if (collective.rank() == 0) result = work();
  });
  return collective.broadcast(result);
}

/// The options of a run, read from the checkpoint that is resumed, --config, and the command line,
/// of which a later one wins.
struct Request {
  CLI::App app;
  TrainSettings settings;
  std::string resumed;  ///< the checkpoint; empty for a new run
};

void read_request(const Arguments& command_line, Collective& collective, Request& request) {
  TrainSettings& s = request.settings;
  declare_train_options(request.app, s);
  parse(request.app, command_line);

  Arguments arguments;
  if (!s.resume.empty()) {
    const auto found = nlohmann::json::parse(on_rank_0(collective, [&] {
      if (s.resume == "auto") {
        if (s.out.empty()) fail("--resume auto looks in the run's directory; give it with --out");
        if (!fs::exists(s.out) || !io::find_newest_checkpoint(s.out)) {
          return nlohmann::json({"", ""}).dump();
        }
      }
      const fs::path checkpoint = find_checkpoint(s.resume == "auto" ? s.out : s.resume);
      return nlohmann::json(
                 {fs::absolute(checkpoint).string(), io::read_run_state(checkpoint).config})
          .dump();
    }));
    request.resumed = found.at(0);
    arguments = arguments_from_toml(found.at(1), request.resumed, request.app);
  }
  if (!s.config.empty()) {
    const std::string config = s.config;
    const std::string text = on_rank_0(collective, [&] { return read_file(config); });
    const Arguments more = arguments_from_toml(text, config, request.app);
    arguments.insert(arguments.end(), more.begin(), more.end());
  }
  if (!arguments.empty()) {
    arguments.insert(arguments.end(), command_line.begin(), command_line.end());
    parse(request.app, arguments);
  }
  resolve(request.app, s);
}

/// The directory of the run, which is that of the checkpoint unless --out says otherwise. Refuses
/// one that already holds another run.
fs::path directory_of_run(const Request& request) {
  const TrainSettings& s = request.settings;
  if (s.out.empty()) {
    if (!request.resumed.empty()) return fs::path(request.resumed).parent_path();
    return fs::path("checkpoints") /
           fmt::format("{:%Y%m%d-%H%M%S}-{}", fmt::localtime(std::time(nullptr)), s.preset);
  }
  const bool holds_a_run =
      fs::exists(fs::path(s.out) / "config.toml") || fs::exists(fs::path(s.out) / "latest");
  // With --resume auto, a run that ended before its first checkpoint begins anew.
  const bool goes_on =
      request.resumed.empty()
          ? s.resume == "auto"
          : holds_a_run && fs::equivalent(fs::path(request.resumed).parent_path(), s.out);
  if (holds_a_run && !goes_on) {
    fail("--out {} already holds a run; go on with it by --resume {}, or give another directory",
         s.out, s.out);
  }
  return s.out;
}

data::PreparedData prepare(const TrainSettings& s, const fs::path& directory, int threads,
                           Collective& collective) {
  return data::PreparedData::parse(on_rank_0(collective, [&] {
    data::DataOptions options;
    options.data = s.data;
    options.validation = s.validation_data;
    if (!s.tokenizer.empty()) options.tokenizer = data::parse_tokenizer_spec(s.tokenizer);
    options.cache = fs::absolute(directory).parent_path() / "token-cache";
    options.context = s.shape.context;
    options.threads = threads;
    return data::prepare_data(options,
                              [](const std::string& message) {
                                fmt::print("{}\n", message);
                                std::fflush(stdout);
                              })
        .serialize();
  }));
}

/// What a resumed checkpoint must agree with. Throws Error that has both values.
void check_resumable(const std::string& checkpoint, const io::RunState& run,
                     const model::ModelConfig& shape, const data::PreparedData& data) {
  if (run.model != shape) {
    fail("{} holds a model of {}, but the options ask for {}; leave out the options that differ",
         checkpoint, shape_text(run.model), shape_text(shape));
  }
  if (run.tokenizer_kind != data.tokenizer_kind || run.tokenizer_blob != data.tokenizer_blob) {
    fail(
        "{} was trained with another tokenizer than --data and --tokenizer give now; use the data "
        "that it was trained on",
        checkpoint);
  }
}

void load_state(const std::string& checkpoint, const model::Layout& layout, train::State& state) {
  const io::RunState run = io::read_run_state(checkpoint);
  io::read_parameters(checkpoint, layout, state.parameters.span());
  io::read_optimizer(checkpoint, layout, state.m.span(), state.v.span());
  state.step = run.step;
  state.tokens_seen = run.tokens_seen;
}

void save_state(const fs::path& directory, io::RunState run, const model::Layout& layout,
                const train::State& state) {
  run.step = state.step;
  run.tokens_seen = state.tokens_seen;
  const fs::path name = io::checkpoint_name(state.step);
  io::write_checkpoint(directory / name, run, layout, state.parameters.span(), state.m.span(),
                       state.v.span());
  const std::string line = name.string() + "\n";
  write_atomically(directory / "latest", std::as_bytes(std::span(line)));
}

std::string part_text(const data::DataPart& part) {
  std::string text = count_text(static_cast<double>(part.tokens.size())) + " tokens";
  if (part.source_bytes > 0) {
    text += fmt::format(" ({} bytes)", count_text(static_cast<double>(part.source_bytes)));
  }
  return text;
}

}  // namespace

void train_command(const Arguments& command_line, Collective& collective) {
  const bool speaks = collective.rank() == 0;
  const auto say = [&](const std::string& text) {
    if (speaks) fmt::print("{}\n", text);
    std::fflush(stdout);
  };

  Request request;
  in_agreement(collective, [&] { read_request(command_line, collective, request); });
  TrainSettings& s = request.settings;

  // The processors: who has how many, and whether that makes sense.
  const std::vector<train::Site> sites = train::gather_sites(
      {.host = host_name(), .processors = available_processors(), .threads = s.threads},
      collective);
  const int threads = sites[static_cast<std::size_t>(collective.rank())].threads;
  in_agreement(collective, [&] { kernels::prepare_blas(threads); });

  // The data, prepared by rank 0 and opened by all.
  const fs::path directory =
      on_rank_0(collective, [&] { return directory_of_run(request).string(); });
  const data::PreparedData prepared = prepare(s, directory, threads, collective);
  data::Dataset data;
  in_agreement(collective, [&] { data = data::open_dataset(prepared, threads); });
  s.shape.vocabulary = data.vocabulary;

  // The model, from its first bits or from a checkpoint, and what trains it.
  const kernels::Kernels* kernels = nullptr;
  std::optional<model::Gpt> gpt;
  std::optional<train::State> state;
  std::optional<data::WindowSampler> sampler;
  std::optional<train::Trainer> trainer;
  std::optional<train::Evaluator> evaluator;
  in_agreement(collective, [&] {
    kernels = &kernels::select_kernels();
    gpt.emplace(s.shape, *kernels);
    if (!request.resumed.empty()) {
      check_resumable(request.resumed, io::read_run_state(request.resumed), s.shape, prepared);
    }
    state.emplace(gpt->layout());
    if (request.resumed.empty()) {
      model::initialize(gpt->layout(), s.seed, state->parameters.span());
    } else {
      load_state(request.resumed, gpt->layout(), *state);
    }
    sampler.emplace(s.seed, data.train.tokens.size(), s.shape.context);
    trainer.emplace(*gpt, *kernels, trainer_options(s, threads), data.train.tokens, *sampler,
                    collective);
    evaluator.emplace(*gpt, data.validation.tokens,
                      parse_evaluation_sequences(s.evaluation_sequences), threads, collective);
  });

  // What is told before the first step.
  const std::uint64_t step_tokens = s.batch * s.shape.context;
  const double bytes_per_token = data.validation.bytes_per_token().value_or(0);
  say(fmt::format("cllm-dist {}: {} steps into {}", version(), s.steps, directory.string()));
  say(fmt::format("model   {}: {}; {} parameters", s.preset, shape_text(s.shape),
                  count_text(static_cast<double>(gpt->layout().parameter_count()))));
  say(fmt::format("data    {}: train {}, validation {}", s.data, part_text(data.train),
                  part_text(data.validation)));
  say(fmt::format("ranks   {} with {} thread{} each, {} kernels", collective.size(), threads,
                  threads == 1 ? "" : "s", kernels->name));
  say(fmt::format(
      "batch   {} x {} tokens in units of {}; the run reads the data {:.2f} times", s.batch,
      s.shape.context, s.micro_batch,
      static_cast<double>(s.steps * s.batch) / static_cast<double>(sampler->windows_per_epoch())));
  if (s.data == "builtin" && bytes_per_token > 0) {
    say(fmt::format(
        "floor   {:.4f}: the corpus' entropy in nats per token, which no model's mean loss "
        "goes below",
        data::builtin_entropy_rate() * bytes_per_token));
  }
  int all_threads = 0;
  for (const train::Site& site : sites) all_threads += site.threads;
  if (const std::size_t units = s.batch / s.micro_batch;
      units < static_cast<std::size_t>(all_threads)) {
    say(fmt::format(
        "note    {} of {} threads have no unit to compute; give a smaller --micro-batch, "
        "a larger --batch, or fewer threads",
        static_cast<std::size_t>(all_threads) - units, all_threads));
  }
  if (data.tokenizer && !data.tokenizer->lossless()) {
    say("note    the tokenizer normalises text or lacks byte tokens: not every text comes back as "
        "it was");
  }
  if (!request.resumed.empty()) {
    say(fmt::format("resumed from {} at step {}", request.resumed, state->step));
  }
  if (speaks) {
    for (const std::string& warning : train::placement_warnings(sites)) {
      fmt::print(stderr, "warning: {}\n", warning);
    }
  }
  if (state->step >= s.steps) {
    say(fmt::format("nothing to do: {} steps are taken; give more --steps to go on", state->step));
    return;
  }

  // The run's directory and its log, and then the run.
  io::RunState run_state{.model = s.shape,
                         .seed = s.seed,
                         .config = config_toml(request.app),
                         .state = "{}",
                         .tokenizer_kind = prepared.tokenizer_kind,
                         .tokenizer_blob = prepared.tokenizer_blob,
                         .program_version = std::string(version())};
  std::optional<train::MetricsLog> metrics;
  std::optional<train::Progress> progress;
  std::optional<train::RunOutputs> outputs;
  in_agreement(collective, [&] {
    if (!speaks) return;
    make_directories(directory);
    write_atomically(directory / "config.toml", std::as_bytes(std::span(run_state.config)));
    metrics.emplace(directory / "metrics.jsonl", state->step);
    progress.emplace(s.steps, step_tokens, bytes_per_token, train::output_is_terminal());
    outputs.emplace(train::RunOutputs{*metrics, *progress, [&](const train::State& now) {
                                        save_state(directory, run_state, gpt->layout(), now);
                                      }});
  });
  const Stopwatch clock;
  const std::uint64_t first_step = state->step;
  const Interval checkpoints = parse_interval(s.checkpoint_every);
  const train::Evaluation last =
      train::run({.steps = s.steps,
                  .evaluate_every = s.evaluate_every,
                  .checkpoint_steps = checkpoints.steps,
                  .checkpoint_seconds = checkpoints.seconds},
                 *trainer, *evaluator, *state, outputs ? &*outputs : nullptr, collective);

  const double seconds = clock.elapsed();
  say(fmt::format(
      "done: {} steps in {}, {} tokens/s with evaluations; validation loss {:.4f}",
      state->step - first_step, train::duration_text(seconds),
      count_text(static_cast<double>((state->step - first_step) * step_tokens) / seconds),
      last.loss));
  say(fmt::format("try: cllm-dist sample --checkpoint {}", directory.string()));
}

}  // namespace cllm::cli
