#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/memory.h"
#include "cllm/base/processors.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/checkpoints.h"
#include "cllm/cli/commands.h"
#include "cllm/cli/program.h"
#include "cllm/cli/request.h"
#include "cllm/data/builtin_corpus.h"
#include "cllm/data/dataset.h"
#include "cllm/io/checkpoint.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"
#include "cllm/train/memory_budget.h"
#include "cllm/train/placement.h"
#include "cllm/train/run.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using train::Collective;
using train::count_text;
using train::in_agreement;
using train::on_rank_0;

data::PreparedData prepare(const Request& request, const fs::path& directory, int threads,
                           Collective& collective) {
  return data::PreparedData::parse(on_rank_0(collective, [&] {
    const TrainSettings& s = request.settings;
    data::DataOptions options;
    if (request.keeps_tokenizer) {
      options.known_tokenizer = tokenizer_of(io::read_run_state(request.resumed), request.resumed);
    }
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

/// Throws Error unless the host has memory for what its ranks are about to allocate.
void check_memory(const train::MemoryBudget& budget, const std::vector<train::Site>& sites,
                  int rank) {
  const std::string& host = sites[static_cast<std::size_t>(rank)].host;
  const auto here = static_cast<double>(std::ranges::count(sites, host, &train::Site::host));
  const double needed = here * static_cast<double>(budget.to_allocate());
  const auto available = static_cast<double>(available_memory());
  if (needed > available) {
    fail(
        "host {}: the run needs about {:.1f} GB and {:.1f} GB are free; make the model smaller, or "
        "give fewer --threads, a smaller --micro-batch or more hosts",
        host, needed / 1e9, available / 1e9);
  }
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

/// The digest of the data that a checkpoint was trained on.
std::string data_digest_of(const std::string& checkpoint) {
  const auto state = nlohmann::json::parse(io::read_run_state(checkpoint).state, nullptr, false);
  return state.is_object() ? state.value("data", "") : "";
}

void load_state(const std::string& checkpoint, const model::Layout& layout, train::State& state) {
  const io::RunState run = io::read_run_state(checkpoint);
  io::read_parameters(checkpoint, layout, state.parameters.span());
  io::read_optimizer(checkpoint, layout, state.m.span(), state.v.span());
  const auto more = nlohmann::json::parse(run.state, nullptr, false);
  if (more.is_object() && more.contains("scales")) {
    state.scale_exponents = more.at("scales").get<std::vector<std::int32_t>>();
  }
  if (state.scale_exponents.size() != layout.tensors().size()) state.scale_exponents.clear();
  state.step = run.step;
  state.tokens_seen = run.tokens_seen;
}

void save_state(const fs::path& directory, io::RunState run, const model::Layout& layout,
                const train::State& state) {
  run.step = state.step;
  run.tokens_seen = state.tokens_seen;
  if (!state.scale_exponents.empty()) {
    auto more = nlohmann::json::parse(run.state);
    more["scales"] = state.scale_exponents;
    run.state = more.dump();
  }
  const fs::path checkpoint = directory / io::checkpoint_name(state.step);
  io::write_checkpoint(checkpoint, run, layout, state.parameters.span(), state.m.span(),
                       state.v.span());
  io::set_newest_checkpoint(checkpoint);
}

/// What to change so that every thread has something to do.
std::vector<std::string> notes_on_sharing(const TrainSettings& s,
                                          const std::vector<train::Site>& sites) {
  const std::size_t rows = s.micro_batch * s.shape.context;
  const std::size_t blocks = (rows + s.row_block - 1) / s.row_block;
  int threads = 0, busy = 0, largest_team = 0;
  for (std::size_t rank = 0; rank < sites.size(); ++rank) {
    threads += sites[rank].threads;
    const std::size_t units = train::share_of(s.batch / s.micro_batch, rank, sites.size()).count;
    if (units == 0) continue;
    for (const int team :
         train::plan_teams(sites[rank].threads, units, blocks, parse_team(s.team))) {
      busy += team;
      largest_team = std::max(largest_team, team);
    }
  }
  std::vector<std::string> notes;
  if (busy < threads) {
    notes.push_back(
        fmt::format("note    {} of {} threads have no unit to compute; give a smaller "
                    "--micro-batch, a larger --batch, or fewer threads",
                    threads - busy, threads));
  }
  if (static_cast<std::size_t>(largest_team) > blocks) {
    notes.push_back(fmt::format(
        "note    {} threads share a unit of {} row block{}, and some wait; give a --row-block of "
        "{} or less, a smaller --micro-batch, or fewer threads",
        largest_team, blocks, blocks == 1 ? "" : "s",
        std::max<std::size_t>(1, rows / static_cast<std::size_t>(largest_team))));
  }
  return notes;
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
  // Of its own: it may itself be a matter of all ranks.
  in_agreement(collective, [&] { collective.use(parse_allreduce(s.allreduce, sites)); });

  // The data, prepared by rank 0 and opened by all.
  bool is_new = false;
  const std::string where =
      on_rank_0(collective, [&] { return directory_of_run(request, is_new).string(); });
  const RunDirectory run_directory(where, is_new);
  const fs::path& directory = run_directory.path();
  const data::PreparedData prepared = prepare(request, directory, threads, collective);
  data::Dataset data;
  in_agreement(collective, [&] { data = data::open_dataset(prepared, threads); });
  s.shape.vocabulary = data.vocabulary;

  // The model, from its first bits or from a checkpoint, and what trains it.
  const kernels::Kernels* kernels = nullptr;
  std::string budget;
  std::optional<model::Gpt> gpt;
  std::optional<train::State> state;
  std::optional<data::WindowSampler> sampler;
  std::optional<train::Trainer> trainer;
  std::optional<train::Evaluator> evaluator;
  in_agreement(collective, [&] {
    kernels = &kernels::select_kernels();
    model::validate(s.shape);
    const train::MemoryBudget wanted =
        train::memory_budget(s.shape, trainer_options(s, threads), collective);
    check_memory(wanted, sites, collective.rank());
    budget = wanted.text();
    gpt.emplace(s.shape, *kernels);
    if (!request.resumed.empty()) {
      check_resumable(request.resumed, io::read_run_state(request.resumed), s.shape, prepared);
    }
    state.emplace(gpt->layout());
    if (request.resumed.empty()) {
      model::initialize(gpt->layout(), s.seed, state->parameters.span(), threads);
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
  say(fmt::format("memory  {}", budget));
  if (s.data == "builtin" && s.validation_data.empty()) {
    say(fmt::format(
        "floor   {:.4f}: the entropy of the corpus in nats per token, which is the mean "
        "loss of a model that knows its grammar",
        data::builtin_entropy_rate() * bytes_per_token));
  }
  for (const std::string& note : notes_on_sharing(s, sites)) say(note);
  if (data.tokenizer && !data.tokenizer->lossless()) {
    say("note    the tokenizer normalises text or lacks byte tokens: not every text comes back as "
        "it was");
  }
  if (!request.resumed.empty()) {
    say(fmt::format("resumed from {} at step {}", request.resumed, state->step));
    if (data_digest_of(request.resumed) != prepared.digest()) {
      say("note    the data is not that of the checkpoint; what validates now may have been "
          "trained "
          "on");
    }
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

  const StepRange traced = parse_trace(s.trace);
  if (traced.last > 0 && (traced.first <= state->step || traced.last > s.steps)) {
    throw ReplicatedError(fmt::format("--trace {}: this run takes steps {} to {}", s.trace,
                                      state->step + 1, s.steps));
  }

  // The run's directory and its log, and then the run.
  io::RunState run_state{.model = s.shape,
                         .seed = s.seed,
                         .config = config_toml(request.app),
                         .state = nlohmann::json({{"data", prepared.digest()}}).dump(),
                         .tokenizer_kind = prepared.tokenizer_kind,
                         .tokenizer_blob = prepared.tokenizer_blob,
                         .program_version = std::string(version())};
  std::optional<train::MetricsLog> metrics;
  std::optional<train::Progress> progress;
  std::optional<train::RunOutputs> outputs;
  in_agreement(collective, [&] {
    if (!speaks) return;
    write_atomically(directory / "config.toml", std::as_bytes(std::span(run_state.config)));
    metrics.emplace(directory / "metrics.jsonl", state->step);
    progress.emplace(s.steps, step_tokens, bytes_per_token, train::output_is_terminal());
    outputs.emplace(train::RunOutputs{*metrics, *progress, [&](const train::State& now) {
                                        save_state(directory, run_state, gpt->layout(), now);
                                      }});
  });
  const Stopwatch clock;
  const std::uint64_t first_step = state->step;
  train::Trace trace(directory / "trace.json", traced.first, traced.last);
  const Interval checkpoints = parse_interval(s.checkpoint_every);
  const train::Evaluation last =
      train::run({.steps = s.steps,
                  .evaluate_every = s.evaluate_every,
                  .checkpoint_steps = checkpoints.steps,
                  .checkpoint_seconds = checkpoints.seconds},
                 *trainer, *evaluator, *state, trace, outputs ? &*outputs : nullptr, collective);

  const double seconds = clock.elapsed();
  say(fmt::format(
      "done: {} steps in {}, {} tokens/s with evaluations; validation loss {:.4f}",
      state->step - first_step, train::duration_text(seconds),
      count_text(static_cast<double>((state->step - first_step) * step_tokens) / seconds),
      last.loss));
  say(fmt::format("peak    {:.2f} GB of memory on this rank",
                  static_cast<double>(peak_resident_memory()) / 1e9));
  const bool quoted = directory.string().find(' ') != std::string::npos;
  say(fmt::format("try: cllm-dist sample --checkpoint {1}{0}{1}", directory.string(),
                  quoted ? "'" : ""));
}

}  // namespace cllm::cli
