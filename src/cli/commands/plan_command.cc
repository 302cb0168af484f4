#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/machine/step_bench.h"
#include "cllm/cli/run/embedding.h"
#include "cllm/cli/run/plan_report.h"
#include "cllm/cli/run/recompute.h"
#include "cllm/plan/planner.h"
#include "cllm/plan/step_time.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/work_sharing.h"

namespace cllm::cli {
namespace {

using collectives::Pattern;

/// Of a cluster that is simulated in some seconds, and in little memory.
constexpr std::size_t kMostHosts = 16384;

/// A link this many times as fast is looked at, where efficiency is missing.
constexpr double kFasterLinks[] = {1.5, 2, 3, 4, 6, 8};

Format<std::vector<std::size_t>> hosts_format() {
  return {.values = "N,…",
          .read =
              [](const std::string& text) {
                std::vector<std::size_t> hosts;
                for (std::size_t begin = 0; begin <= text.size();) {
                  const std::size_t end = std::min(text.find(',', begin), text.size());
                  const auto number =
                      read_number<std::size_t>(std::string_view(text).substr(begin, end - begin));
                  if (!number || *number < 1 || *number > kMostHosts) {
                    fail("give numbers of hosts from 1 to {}, with commas between them",
                         kMostHosts);
                  }
                  hosts.push_back(*number);
                  begin = end + 1;
                }
                return hosts;
              },
          .write =
              [](const std::vector<std::size_t>& hosts) {
                return fmt::format("{}", fmt::join(hosts, ","));
              }};
}

/// The options of a run's configuration that a plan has, too.
Arguments arguments_of_config(const std::string& path, const CLI::App& app) {
  CLI::App training;
  TrainSettings any;
  declare_train_options(training, any);
  Arguments arguments = arguments_from_toml(read_file(path), path, training);
  const std::vector<std::string> known = option_names(app);
  std::erase_if(arguments, [&](const std::string& argument) {
    return std::ranges::find(known, argument.substr(2, argument.find('=') - 2)) == known.end();
  });
  return arguments;
}

/// Reads what stands behind the name of the command, and before it what --config says.
void read_settings(const Arguments& arguments, CLI::App& app, PlanSettings& s) {
  const auto command = std::ranges::find(arguments, "plan");
  Arguments own(command + 1, arguments.end());
  declare_plan_options(app, s);
  parse(app, own);
  if (s.train.config.empty()) return;
  const Arguments before = arguments_of_config(s.train.config, app);
  own.insert(own.begin(), before.begin(), before.end());
  parse(app, own);
}

/// How fast a core is, by whichever option says it.
void resolve_speed(const CLI::App& app, const model::Layout& layout, FigureTable& figures,
                   const PlanSettings& s) {
  const int said = static_cast<int>(is_given(app, "--core-gflops")) +
                   static_cast<int>(is_given(app, "--peak-gflops")) +
                   static_cast<int>(is_given(app, "--sequence-seconds"));
  if (said > 1) {
    fail(
        "--core-gflops, --peak-gflops and --sequence-seconds: each says how fast a core is; give "
        "one of them");
  }
  const auto check = [](const char* option, double value) {
    if (!(value > 0) || !std::isfinite(value))
      fail("{} {:g}: give a number above 0", option, value);
  };
  check("--share-of-peak", s.share_of_peak);
  if (s.share_of_peak > 1) fail("--share-of-peak {:g}: give a number up to 1", s.share_of_peak);
  if (is_given(app, "--peak-gflops")) {
    check("--peak-gflops", s.peak_gflops);
    figures.set("core-gflops", s.peak_gflops * s.share_of_peak, Origin::kGiven);
  }
  if (is_given(app, "--sequence-seconds")) {
    check("--sequence-seconds", s.sequence_seconds);
    train::TrainerOptions one = trainer_options(s.train, 1);
    one.batch = one.micro_batch = 1;
    figures.set("core-gflops", plan::micro_batch_flops(layout, one) / s.sequence_seconds / 1e9,
                Origin::kGiven);
  }
}

/// What stands in for what is not known, beside figures.
std::vector<std::string> assumptions(const CLI::App& app, const PlanSettings& s) {
  std::vector<std::string> texts;
  if (is_given(app, "--peak-gflops") && !is_given(app, "--share-of-peak")) {
    texts.push_back(fmt::format("a step reaches {:g} of the register peak", s.share_of_peak));
  }
  texts.emplace_back(s.frequencies == plan::Frequencies::kZipf
                         ? "tokens as frequent as in text (Zipf's law)"
                         : "all tokens as frequent as each other");
  if (s.tokens == 0) {
    texts.push_back(fmt::format("{:g} tokens for each parameter", kTokensPerParameter));
  }
  texts.emplace_back("hosts equally fast");
  texts.emplace_back("a network without other traffic");
  return texts;
}

/// What a link would have to be for the efficiency that is wanted; nothing where even the fastest
/// that is looked at isn't enough.
std::optional<double> enough_gbit(const model::Layout& layout, plan::Request request,
                                  std::size_t hosts) {
  const double per_byte = request.figures.costs.network.per_byte;
  for (const double faster : kFasterLinks) {
    request.figures.costs.network.per_byte = per_byte / faster;
    if (plan::Planner(layout, request).plan(hosts).efficiency >= request.efficiency) {
      return 8e-9 * faster / per_byte;
    }
  }
  return std::nullopt;
}

/// What would reach the efficiency that is wanted, where it is missing.
std::string advice(const model::Layout& layout, const plan::Request& request, const PlanRow& row) {
  const double wanted = request.efficiency;
  if (row.plan.efficiency >= wanted) return {};
  const std::optional<double> gbit = enough_gbit(layout, request, row.plan.hosts);
  return fmt::format(
      "advice    {:.0f} % on {} hosts takes {}, or {} with {}", 100 * wanted, row.plan.hosts,
      row.host_batch ? fmt::format("{} sequences a host", *row.host_batch)
                     : fmt::format("more than {} sequences a host", plan::Planner::kMostHostBatch),
      gbit ? fmt::format("{:g} Gbit/s", *gbit) : "more than a faster link", request.host_batch);
}

CheckpointTimes checkpoint_times(const model::Layout& layout, const PlanSettings& s,
                                 const plan::Figures& figures) {
  const auto buffers = train::find_optimizer(s.train.optimizer.name).buffers;
  const auto bytes =
      static_cast<double>(train::CheckpointWriter::checkpoint_bytes(layout, buffers));
  return {.every = s.checkpoint_every,
          .bytes = bytes,
          .pause = 2 * bytes / figures.update_bytes,  // read and written
          .write = bytes / figures.disk_bytes};
}

void check(const PlanSettings& s) {
  if (!(s.tokens >= 0) || !std::isfinite(s.tokens)) {
    fail("--tokens {:g}: give the tokens of a run", s.tokens);
  }
  if (!(s.checkpoint_every > 0)) fail("--checkpoint-every 0: give a time such as 30m");
}

/// The whole plan, on one rank.
void print_plan(const Arguments& arguments) {
  CLI::App app;
  PlanSettings s;
  read_settings(arguments, app, s);
  check(s);
  const std::size_t micro_batch = s.train.micro_batch, token_block = s.train.token_block;
  const std::size_t most_hosts = std::ranges::max(s.hosts);
  s.train.batch = std::clamp<std::size_t>(s.host_batch * most_hosts, 1, train::kLargestBatch);
  resolve_step(app, s.train);
  const model::Layout layout(s.train.shape, s.train.freeze);
  for (const std::string& file : s.figure_files) s.figures.read(file);
  // Options win over files, which they are read before.
  for (const auto& [name, value] : s.given) s.figures.set(name, value, Origin::kGiven);
  resolve_speed(app, layout, s.figures, s);

  plan::Request request{.options = trainer_options(s.train, 1),
                        .figures = s.figures.figures(most_hosts),
                        .frequencies = s.frequencies,
                        .host_batch = s.host_batch,
                        .ranks_per_host = s.ranks_per_host,
                        .forced = s.sums,
                        .efficiency = s.efficiency};
  request.options.micro_batch = micro_batch;
  request.options.token_block = token_block;
  request.statistics = [&](int ranks, int threads) {
    return usual_statistics(s.train.shape, ranks, threads);
  };
  const auto parameters = static_cast<double>(layout.parameter_count());
  const PlanReport report{
      .model = fmt::format("{} ({})", s.train.preset, model::shape_text(s.train.shape)),
      .parameters = parameters,
      .optimizer = s.train.optimizer.name,
      .context = s.train.shape.context,
      .host_batch = s.host_batch,
      .tokens = s.tokens > 0 ? s.tokens : kTokensPerParameter * parameters,
      .efficiency = s.efficiency,
      .figures = s.figures,
      .assumptions = assumptions(app, s),
      .checkpoint = checkpoint_times(layout, s, request.figures)};
  plan::Planner planner(layout, request);
  const auto say = [&](const std::vector<std::string>& lines) {
    if (s.json) return;
    for (const std::string& line : lines) fmt::print("{}\n", line);
    std::fflush(stdout);
  };
  say(head_lines(report));
  std::vector<PlanRow> rows;
  for (const std::size_t hosts : s.hosts) {
    rows.push_back({planner.plan(hosts), planner.least_host_batch(hosts)});
    say({table_line(report, rows.back())});
  }
  if (s.json) {
    fmt::print("{}\n", plan_json(report, rows));
    return;
  }
  const PlanRow& last =
      *std::ranges::max_element(rows, {}, [](const PlanRow& row) { return row.plan.hosts; });
  say(foot_lines(report, last));
  if (const std::string text = advice(layout, request, last); !text.empty()) say({text});
}

}  // namespace

void declare_plan_options(CLI::App& app, PlanSettings& s) {
  s.train.preset = "gpt2-124m";
  declare_model_options(app, s.train);
  declare_part_options(app, s.train);
  add_option(app, "--vocabulary", s.train.shape.vocabulary,
             "tokens of the vocabulary [the published one; 4096 for medium, else 256]")
      ->type_name("N");
  declare_optimizer_options(app, s.train);
  declare_freeze_options(app, s.train);
  add_option(app, "--reduce", s.train.reduce, reduce_format(), "how gradients are added up");
  add_option(app, "--shard", s.train.shard, shard_format(),
             "each rank keeps and updates its own part of the optimizer's state");
  add_option(app, "--recompute", s.train.recompute, recompute_format(),
             "layers whose activations are computed again in backward [0]");
  add_option(app, "--hosts", s.hosts, hosts_format(), "numbers of hosts");
  add_option(app, "--host-batch", s.host_batch, "sequences of a step, for each host")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--ranks-per-host", s.ranks_per_host, count_or<int>("auto", "a number of ranks"),
             "ranks of each host");
  add_option(app, "--micro-batch", s.train.micro_batch,
             "sequences that go through the model together [what takes least]")
      ->type_name("N");
  add_option(app, "--token-block,--row-block", s.train.token_block,
             "positions that one thread of a team takes at a time [what takes least]")
      ->type_name("N");
  add_option(
      app, "--allreduce", s.sums,
      one_of<std::optional<Pattern>>(
          {{"auto", std::nullopt}, {"ring", Pattern::kRing}, {"halving", Pattern::kHalving}}),
      "how hosts add up gradients: auto is ring or halving, by what messages cost");
  add_option(app, "--token-frequencies", s.frequencies,
             one_of<plan::Frequencies>(
                 {{"text", plan::Frequencies::kZipf}, {"uniform", plan::Frequencies::kUniform}}),
             "how often tokens occur: as in text (Zipf's law), or all alike, as in bench");
  add_option(app, "--efficiency", s.efficiency,
             "weak-scaling efficiency that a host batch is looked for by")
      ->type_name("X")
      ->capture_default_str();
  add_option(app, "--tokens", s.tokens, "tokens of the whole run [20 for each parameter]")
      ->type_name("N");
  add_option(app, "--checkpoint-every", s.checkpoint_every, time_format(),
             "time between checkpoints");
  add_option(app, "--config", s.train.config,
             "read the model's options from a run's TOML file; the command line wins")
      ->type_name("FILE");
  app.add_flag("--json", s.json, "print one JSON object");
  add_list_option(app, "--figures", s.figure_files, text_format(),
                  "what doctor --figures wrote of one or several hosts; of several files the later "
                  "wins")
      ->type_name("FILE")
      ->group("Figures");
  declare_figure_options(app, s.given);
  add_option(app, "--peak-gflops", s.peak_gflops,
             "instead of --core-gflops: GFLOP/s of a core's register peak, as bench prints it")
      ->type_name("X")
      ->group("Figures");
  add_option(app, "--share-of-peak", s.share_of_peak, "what a step reaches of it")
      ->type_name("X")
      ->capture_default_str()
      ->group("Figures");
  add_option(app, "--sequence-seconds", s.sequence_seconds,
             "instead of --core-gflops: seconds that a core takes for a sequence, forward and back")
      ->type_name("X")
      ->group("Figures");
}

void plan_command(const Arguments& arguments, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() == 0) print_plan(arguments);
  });
}

}  // namespace cllm::cli
