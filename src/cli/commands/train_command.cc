#include <fmt/format.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/memory.h"
#include "cllm/base/output.h"
#include "cllm/base/quantities.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/machine/machine.h"
#include "cllm/cli/machine/slurm.h"
#include "cllm/cli/program.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/completion.h"
#include "cllm/cli/run/embedding.h"
#include "cllm/cli/run/mixing.h"
#include "cllm/cli/run/recompute.h"
#include "cllm/cli/run/request.h"
#include "cllm/cli/run/room.h"
#include "cllm/cli/run/run_summary.h"
#include "cllm/cli/run/starting_point.h"
#include "cllm/cli/run/starting_weights.h"
#include "cllm/cli/run/training_data.h"
#include "cllm/corpus/corpus_vectors.h"
#include "cllm/data/mixed_data.h"
#include "cllm/io/checkpoint.h"
#include "cllm/io/event_file.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/io/run_directory.h"
#include "cllm/ranks/agreement.h"
#include "cllm/ranks/heartbeat.h"
#include "cllm/ranks/placement.h"
#include "cllm/train/memory_budget.h"
#include "cllm/train/metrics.h"
#include "cllm/train/optimizer.h"
#include "cllm/train/run.h"
#include "cllm/train/text_sampler.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using ranks::in_agreement;
using ranks::on_rank_0;
using ranks::ProcessGroup;

/// Seconds that a Slurm job should have left for what its script does after the run.
constexpr double kAfterwards = 20;

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// So many steps take as long as an evaluation: a forward pass alone is about a third of a step's.
double evaluation_steps(std::size_t sequences, std::size_t batch) {
  return static_cast<double>(sequences) / (3 * static_cast<double>(batch));
}

/// The file that people make to stop a run.
constexpr const char* kStopName = "STOP";

constexpr const char* kCacheName = "token-cache";

/// Where tokens, and what a corpus says of them, are kept for later runs: beside the run's
/// directory, or in it where that place is for others to write to.
fs::path cache_of(const fs::path& directory) {
  const fs::path beside = fs::absolute(directory).parent_path() / kCacheName;
  std::error_code unknown;
  const bool exists = fs::exists(beside, unknown);
  const bool is_ours =
      (!exists || fs::is_directory(beside, unknown)) &&
      ::access(exists ? beside.c_str() : beside.parent_path().c_str(), W_OK | X_OK) == 0;
  return is_ours ? beside : fs::absolute(directory) / kCacheName;
}

data::PreparedMixture prepare(const Request& request, const fs::path& directory, int threads,
                              ProcessGroup& process_group) {
  const ranks::Doing doing("preparing the data");
  return data::PreparedMixture::parse(on_rank_0(process_group, [&] {
    const TrainSettings& s = request.settings;
    data::DataOptions options;
    if (request.keeps_tokenizer) {
      options.known_tokenizer =
          tokenizer_of(io::read_model_head(request.start.checkpoint).run, request.start.checkpoint);
    }
    options.validation = s.validation_data;
    options.tokenizer = tokenizer_spec(s.tokenizer, s.special_tokens);
    options.cache = cache_of(directory);
    options.context = s.shape.context;
    options.threads = threads;
    options.text_rules = text_rules_of(request.start);
    options.document_separator = s.document_separator;
    return data::prepare_mixture(s.data, options,
                                 [](const std::string& message) { put(stdout, message + "\n"); })
        .serialize();
  }));
}

/// The tokenizer of the texts that the model writes while it trains. Warns where it loses some of
/// the prompt. Throws Error, naming the option, where there is none.
const data::Tokenizer& sampling_tokenizer(const TrainSettings& s, const data::MixedData& data) {
  const data::Tokenizer* const tokenizer = data.tokenizer();
  if (tokenizer == nullptr) {
    fail(
        "--sample-every {}: the data has no tokenizer that says what tokens stand for; leave it "
        "out",
        s.sample_every);
  }
  const std::uint64_t lost = tokenizer->encode_counting(s.sample_prompt).lost_bytes;
  if (lost > 0) {
    put(stderr, fmt::format("warning: --sample-prompt: {}\n",
                            data::lost_text(lost, s.sample_prompt.size())));
  }
  return *tokenizer;
}

/// What the log is told of this start of the program.
train::RunStart start_of(const TrainSettings& s, const std::vector<ranks::Site>& sites) {
  train::RunStart start{.time = std::time(nullptr),
                        .steps = s.steps,
                        .ranks = sites.size(),
                        .job = slurm_job(),
                        .version = std::string(version())};
  std::set<std::string> hosts;
  for (const ranks::Site& site : sites) {
    start.threads += static_cast<std::size_t>(site.threads);
    hosts.insert(site.host);
  }
  start.hosts.assign(hosts.begin(), hosts.end());
  return start;
}

}  // namespace

int train_command(const Arguments& command_line, ProcessGroup& process_group,
                  const StopSignals& signals, const TimeLeft& job) {
  const Stopwatch since_start;
  const bool speaks = process_group.rank() == 0;
  const auto say = [&](const std::string& text) {
    if (speaks) put(stdout, text + "\n");
  };

  Request request;
  in_agreement(process_group, [&] { read_request(command_line, process_group, request); });
  TrainSettings& s = request.settings;
  ranks::heartbeat().set_patience(s.watchdog);
  const StartingPoint& start = request.start;

  // The processors: who has how many, and whether that makes sense.
  const Machine machine = prepare_machine(s.threads, s.products, process_group);
  const std::vector<ranks::Site>& sites = machine.sites;
  const int threads = machine.threads;
  // Of its own: it may itself be a matter of all ranks.
  in_agreement(process_group, [&] { process_group.use(s.allreduce); });

  // The data, prepared by rank 0 and opened by all.
  bool is_new = false;
  const std::string where =
      on_rank_0(process_group, [&] { return directory_of_run(request, is_new).string(); });
  const bool is_locked = request.lock.is_held();
  const RunDirectory run_directory(where, is_new, std::move(request.lock));
  const fs::path& directory = run_directory.path();
  require_seen_by_all(directory, process_group);
  const data::PreparedMixture prepared = prepare(request, directory, threads, process_group);
  data::MixedData data;
  in_agreement(process_group, [&] { data = data::open_mixture(prepared, threads); });
  require_same_data(data, process_group);
  std::optional<Mixing> mixing;
  std::optional<TrainingData> training;
  std::string embedding_note;
  in_agreement(process_group, [&] {
    resolve_embedding(start, request.app, data.vocabulary(), s);
    mixing.emplace(find_mixing(start, prepared));
  });
  training.emplace(training_data(data, mixing->mixture, s, cache_of(directory), process_group));
  in_agreement(process_group, [&] {
    resolve_epochs(request.app, s, training->sequences.per_epoch());
    embedding_note = plan_embedding_start(start, request.app, data.training_tokens(), s);
    check_embedding_start(start, s, request.app, data.tokenizer() != nullptr);
  });

  // What the corpus says of its tokens: how frequent they are, where rows go by that, and as far as
  // it tells how much memory it takes.
  ThreadPool pool(threads);
  const std::vector<std::uint32_t> token_rows =
      token_rows_of(start, s.shape, training->sequences, pool, process_group);
  std::optional<corpus::CorpusStudy> study;
  if (start.kind == StartingPoint::Kind::kNew && s.embedding_start == EmbeddingStart::kCorpus) {
    const ranks::Doing doing("looking at the corpus");
    study.emplace(
        process_group, pool, machine.kernels,
        corpus_sample(training->sequences, s.embedding_sample), data.vocabulary(),
        corpus::CorpusOptions{
            .rank = s.shape.embedding_width(), .seed = s.seed, .cache = cache_of(directory)},
        say);
  }

  training.emplace(by_rows(*std::move(training), token_rows));

  // The model, from its first bits or from a checkpoint, and what trains it.
  std::string budget;
  std::optional<model::Model> model;
  std::span<const train::BufferSpec> buffers;
  std::optional<train::State> state;
  std::optional<train::Trainer> trainer;
  std::optional<train::Evaluator> evaluator;
  std::optional<train::TextSampler> sampler;
  train::TrainerOptions options;
  in_agreement(process_group, [&] {
    model::validate(s.shape);
    options = trainer_options(s, threads);
  });
  const auto budget_of = [&](std::size_t recompute) {
    train::TrainerOptions with = options;
    with.recompute = recompute;
    return train::memory_budget(model::Layout(s.shape, s.freeze), with, s.saves_in_background,
                                study ? study->bytes() : filling_bytes(start), process_group,
                                s.sample_every > 0);
  };
  options.recompute = choose_recompute(s.recompute, model::Layout(s.shape, s.freeze), budget_of,
                                       sites, process_group);
  in_agreement(process_group, [&] {
    const train::MemoryBudget wanted = budget_of(options.recompute);
    check_memory(wanted, sites, process_group.rank());
    budget = wanted.text() + recompute_text(options.recompute, s.shape.layers, budget_of);
    model.emplace(s.shape, machine.kernels, s.freeze);
    if (speaks) check_agrees(start, s, prepared.sources.front());
    buffers = train::find_optimizer(options.optimizer.name).buffers;
    trainer.emplace(*model, machine.kernels, options, training->sequences, process_group);
    state.emplace(model->layout(), buffers, threads, trainer->ownership());
    evaluator.emplace(*model, training->validation, s.evaluation_sequences, threads, process_group);
    if (speaks && s.sample_every > 0) {
      sampler.emplace(*model, sampling_tokenizer(s, data), trainer->pool(), token_rows,
                      train::TextSampler::Options{
                          .prompt = s.sample_prompt, .tokens = s.sample_tokens, .seed = s.seed});
    }
  });

  {
    const ranks::Doing doing("reading the checkpoint");
    fill_state(start, model->layout(), s.seed, threads, *state, process_group);
  }

  // What is told before the first step.
  const std::string config = config_toml(request.app, s.fine_tunes);
  if (speaks) {
    const RunFacts facts{request,
                         directory,
                         data,
                         *training,
                         sites,
                         model->layout().parameter_count(),
                         model->layout().trained_count(),
                         budget};
    for (const std::string& line : run_summary(facts)) say(line);
    const std::string sums = process_group.sums_text();
    if (!sums.empty()) say("sums    " + sums);
    if (trainer->ownership().is_sharded()) {
      say(fmt::format(
          "shards  each of {} ranks keeps and updates its part of the optimizer's state",
          process_group.size()));
    }
    if (!is_locked) {
      say("note    the file system of this directory cannot lock: see that no other job uses it");
    }
    if (!embedding_note.empty()) say(embedding_note);
    for (const std::string& note : start.notes) say(note);
    if (start.resumes()) {
      say(fmt::format("resumed from {} at step {}{}{}", start.checkpoint, state->step,
                      start.why.empty() ? "" : ": ", start.why));
    } else if (start.kind == StartingPoint::Kind::kInitial) {
      say(fmt::format("weights from {}", start.checkpoint));
    }
    for (const auto& line : changes_since(start, config, request.app, prepared.digest(), sites)) {
      say(line);
    }
    for (const std::string& line : mixing->lines) say(line);
    const std::string thawed = thawed_note(start, model->layout());
    if (!thawed.empty()) say(thawed);
    std::vector<std::string> warnings = ranks::placement_warnings(sites);
    warnings.push_back(ranks::mixture_warning(sites));
    for (const std::string& warning : warnings) {
      if (!warning.empty()) put(stderr, "warning: " + warning + "\n");
    }
  }
  const train::Goal goal = goal_of(s);
  if (!train::reason_complete(goal, *state).empty()) {
    say(nothing_to_do(goal, *state));
    in_agreement(process_group, [&] {
      if (speaks) tidy_up(directory, start, goal, *state);
    });
    return EXIT_SUCCESS;
  }

  if (s.trace.last > 0 && s.trace.first <= state->step) {
    throw ReplicatedError(fmt::format("--trace {}:{}: this run goes on with step {}", s.trace.first,
                                      s.trace.last, state->step + 1));
  }

  in_agreement(process_group, [&] {
    if (!speaks) return;
    const std::string warning = room_warning(
        directory,
        {.bytes = train::CheckpointWriter::checkpoint_bytes(model->layout(), buffers),
         .at_once = most_checkpoints(s.steps - state->step, s.checkpoint_every.steps, s.keep),
         .are_there = s.keep > 0 ? io::list_checkpoints(directory).size() : 0},
        s.stop_when_saving_fails);
    if (!warning.empty()) put(stderr, "warning: " + warning + "\n");
  });

  EmbeddingHistory embedding;
  if (start.kind == StartingPoint::Kind::kNew) {
    const ranks::Doing doing("starting the token embedding");
    embedding = start_embedding({s, data.tokenizer(), machine.kernels, model->layout(), token_rows,
                                 pool, study ? &*study : nullptr, say},
                                process_group, state->parameters.span());
    study.reset();
  } else {
    in_agreement(process_group, [&] {
      if (speaks) embedding = embedding_history(start);
    });
  }

  // The run's directory and its log, and then the run.
  const std::uint64_t first_step = state->step;
  const std::uint64_t step_tokens = s.batch * s.shape.context;
  std::optional<io::EventFile> events;
  std::optional<train::MetricsLog> metrics;
  std::optional<train::Progress> progress;
  std::optional<train::CheckpointWriter> checkpoints;
  std::optional<train::RunOutputs> outputs;
  std::optional<train::StateGathering> gathering;
  std::optional<train::StateSender> sender;
  if (trainer->ownership().is_sharded()) {
    gathering.emplace(model->layout(), trainer->ownership(), process_group);
  }
  in_agreement(process_group, [&] {
    if (!speaks) {
      if (gathering) {
        sender.emplace(*gathering, model->layout(), buffers, trainer->pool(),
                       s.saves_in_background);
      }
      return;
    }
    for (const std::string& line : set_newer_aside(directory, first_step)) say(line);
    unmark_complete(directory);
    remove_unfinished(directory);
    write_atomically(directory / io::kConfigName, std::as_bytes(std::span(config)));
    if (s.tensorboard) {
      events.emplace(directory / "tensorboard", first_step + 1);
      events->text(first_step + 1, "options", fmt::format("```\n{}\n```", config));
    }
    metrics.emplace(directory / io::kMetricsName, first_step, events ? &*events : nullptr);
    progress.emplace(
        train::Pace(s.steps, s.evaluate_every, evaluation_steps(evaluator->sequences(), s.batch)),
        step_tokens, validation_bytes_per_token(data, mixing->mixture, reading_of(s)).value_or(0),
        train::output_is_terminal());
    const io::RunState run_state{.model = s.shape,
                                 .seed = s.seed,
                                 .config = config,
                                 .state = run_facts(start, first_step, s, sites, prepared.digest(),
                                                    mixing->facts, embedding.facts),
                                 .tokenizer_kind = prepared.sources.front().tokenizer_kind,
                                 .tokenizer_blob = prepared.sources.front().tokenizer_blob,
                                 .program_version = std::string(version()),
                                 .freeze = s.freeze.text(),
                                 .token_rows = token_rows,
                                 .lattices = embedding.lattices};
    checkpoints.emplace(
        train::CheckpointOptions{
            .directory = directory,
            .keep = s.keep,
            .base_steps = s.on_spike == train::OnSpike::kRollback ? s.checkpoint_every.steps : 0,
            .background = s.saves_in_background,
            .gathering = gathering ? &*gathering : nullptr},
        model->layout(), buffers, trainer->pool(), run_state, [&] { metrics->sync(); });
    outputs.emplace(
        train::RunOutputs{*metrics, *progress, *checkpoints, sampler ? &*sampler : nullptr});
    metrics->start(first_step, start_of(s, sites));
  });
  train::Trace trace(directory / "trace.json", s.trace.first, s.trace.last);
  // Where options changed, or the directory did, the run could not go on as it is from what is
  // saved.
  const bool is_saved = start.resumes() && start.config == config &&
                        fs::path(start.checkpoint).parent_path() == fs::absolute(directory);
  const Stopwatch clock;
  const std::string stopped =
      train::run({.goal = goal,
                  .evaluate_every = s.evaluate_every,
                  .sample_every = s.sample_every,
                  .checkpoint_steps = s.checkpoint_every.steps,
                  .checkpoint_seconds = s.checkpoint_every.seconds,
                  .replicas_every = s.check_replicas,
                  .on_mismatch = s.on_replica_mismatch,
                  .on_spike = s.on_spike,
                  .stop_when_saving_fails = s.stop_when_saving_fails,
                  .stop_file = directory / kStopName,
                  .is_saved = is_saved,
                  .seconds = std::min(s.max_time - since_start.elapsed(),
                                      speaks ? job.seconds() - kAfterwards : kNoLimit)},
                 {model->layout(), *trainer, *evaluator, trace, signals,
                  outputs ? &*outputs : nullptr, sender ? &*sender : nullptr, process_group},
                 start.resumes() ? start.checkpoint : "", *state);

  const double seconds = clock.elapsed();
  const bool quoted = directory.string().find(' ') != std::string::npos;
  const std::string path = fmt::format("{1}{0}{1}", directory.string(), quoted ? "'" : "");
  if (!stopped.empty()) {
    if (speaks) metrics->stop(state->step, std::time(nullptr), stopped);
    say(fmt::format("stopped after step {} of {}, saved: {}; to go on: cllm-dist --resume {}",
                    state->step, s.steps, stopped, path));
    return EX_TEMPFAIL;
  }
  std::string best;  // on rank 0
  in_agreement(process_group, [&] {
    if (!speaks) return;
    mark_complete(directory, goal, *state);
    if (goal.may_end_early()) best = best_text(directory, *state);
  });
  if (state->step < s.steps) {
    say(fmt::format("complete after step {} of {}: {}", state->step, s.steps,
                    train::reason_complete(goal, *state)));
  }
  if (!best.empty()) say("best    " + best);
  say(fmt::format(
      "done: {} steps in {}, {} tokens/s with evaluations; validation loss {:.4f}",
      state->step - first_step, duration_text(seconds),
      count_text(static_cast<double>((state->step - first_step) * step_tokens) / seconds),
      state->validation ? state->validation->loss : std::nan("")));
  say(fmt::format("peak    {:.2f} GB of memory on this rank",
                  static_cast<double>(peak_resident_memory()) / 1e9));
  say(fmt::format("try: cllm-dist sample --checkpoint {}", path));
  return EXIT_SUCCESS;
}

}  // namespace cllm::cli
