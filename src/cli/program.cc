#include "cllm/cli/program.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "cllm/base/output.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/help.h"
#include "cllm/cli/machine/build_report.h"
#include "cllm/cli/machine/launch.h"

namespace cllm::cli {

namespace {

/// Configurations and metrics are UTF-8, and hold paths.
void require_utf8(Arguments arguments) {
  std::error_code unknown;
  arguments.push_back(std::filesystem::current_path(unknown).string());
  for (const std::string& argument : arguments) {
    try {
      [[maybe_unused]] const std::string text = nlohmann::json(argument).dump();
    } catch (const nlohmann::json::exception&) {
      throw ReplicatedError(
          fmt::format("the argument or directory {:?} is not UTF-8; rename the path", argument));
    }
  }
}

}  // namespace

std::string_view version() { return CLLM_VERSION; }

bool needs_ranks(const Arguments& arguments) {
  if (arguments.empty()) return true;
  for (const char* word : {"report", "watch", "man", "completion", "--version", "--verbose"}) {
    if (arguments.front() == word) return false;
  }
  return true;
}

int run_program(const Arguments& arguments, ranks::ProcessGroup& process_group,
                StopSignals& signals, const TimeLeft& job) {
  require_same_start(arguments, program_digest(), process_group);
  process_group.watch();
  require_utf8(arguments);
  CLI::App app(
      "Trains language models on CPU clusters.\n"
      "  cllm-dist [options]                train; every option has a default\n"
      "  mpirun -np N cllm-dist [options]   the same on N ranks\n"
      "  cllm-dist COMMAND --help           explains a command",
      "cllm-dist");
  bool is_verbose = false;
  app.add_flag("--verbose", is_verbose,
               "with --version: all that a report of an error should say of this build");
  app.set_version_flag(
      "--version", [&] { return is_verbose ? build_report() : std::string(version()); },
      "print the version");
  app.allow_extras(false);
  app.require_subcommand(0, 1);
  app.formatter(help_layout());

  TrainSettings train;
  SampleSettings sample;
  ChatSettings chat;
  EvalSettings eval;
  NeighboursSettings neighbours;
  InspectSettings inspect;
  VerifySettings verify;
  TokenizeSettings tokenize;
  DetokenizeSettings detokenize;
  CompressSettings compress;
  ExportSettings exported;
  ReportSettings report;
  WatchSettings watch;
  BenchSettings bench;
  DoctorSettings doctor;
  PlanSettings plan;
  ManualSettings manual;
  Shell shell = Shell::kBash;
  declare_train_options(app, train);
  CLI::App* sample_app = app.add_subcommand("sample", "continue a text with a trained model");
  CLI::App* chat_app = app.add_subcommand("chat", "speak with a trained model");
  CLI::App* eval_app = app.add_subcommand("eval", "measure a trained model on a text");
  CLI::App* neighbours_app =
      app.add_subcommand("neighbours", "list the tokens most similar to a given one");
  CLI::App* inspect_app = app.add_subcommand("inspect", "show what a checkpoint holds");
  CLI::App* verify_app =
      app.add_subcommand("verify", "check that checkpoints and token files are whole");
  CLI::App* tokenize_app = app.add_subcommand("tokenize", "turn a corpus into token files");
  CLI::App* detokenize_app =
      app.add_subcommand("detokenize", "turn a token file back into its text");
  CLI::App* compress_app =
      app.add_subcommand("compress", "store a trained model in a few bits per weight");
  CLI::App* export_app =
      app.add_subcommand("export", "write a trained model for transformers or llama.cpp");
  CLI::App* report_app =
      app.add_subcommand("report", "write one HTML page about runs: curves, tables, differences");
  CLI::App* watch_app = app.add_subcommand("watch", "show in the terminal what runs do");
  CLI::App* bench_app = app.add_subcommand("bench", "measure training steps on this machine");
  CLI::App* doctor_app =
      app.add_subcommand("doctor", "check this machine before a run, and say what to fix");
  CLI::App* plan_app =
      app.add_subcommand("plan", "say what training will take on clusters of many hosts");
  CLI::App* manual_app =
      app.add_subcommand("man", "print the manual page of the program, or of a command");
  CLI::App* completion_app =
      app.add_subcommand("completion", "print a script that completes command lines in a shell");
  declare_manual_options(*manual_app, manual);
  declare_completion_options(*completion_app, shell);
  declare_sample_options(*sample_app, sample);
  declare_chat_options(*chat_app, chat);
  declare_eval_options(*eval_app, eval);
  declare_neighbours_options(*neighbours_app, neighbours);
  declare_inspect_options(*inspect_app, inspect);
  declare_verify_options(*verify_app, verify);
  declare_tokenize_options(*tokenize_app, tokenize);
  declare_detokenize_options(*detokenize_app, detokenize);
  declare_compress_options(*compress_app, compress);
  declare_export_options(*export_app, exported);
  declare_report_options(*report_app, report);
  declare_watch_options(*watch_app, watch);
  declare_bench_options(*bench_app, bench);
  declare_doctor_options(*doctor_app, doctor);
  declare_plan_options(*plan_app, plan);

  try {
    parse(app, arguments);
  } catch (const CLI::Success& asked) {
    if (process_group.rank() == 0) app.exit(asked);
    return EXIT_SUCCESS;
  } catch (const Error& error) {
    throw ReplicatedError(error.what());  // every rank reads the same command line
  }
  const bool trains = app.get_subcommands().empty();
  const bool computes = trains || eval_app->parsed() || bench_app->parsed() || doctor_app->parsed();
  if (computes && refuse_if_cut_off(read_launch(), process_group.size())) {
    return EXIT_FAILURE;
  }
  // What these write is read later, and elsewhere.
  if (trains || tokenize_app->parsed() || detokenize_app->parsed() || compress_app->parsed() ||
      export_app->parsed()) {
    outlive_readers();
  }
  if (trains && is_verbose) {
    throw ReplicatedError("--verbose goes with --version; leave it out");
  }
  if (trains) return train_command(arguments, process_group, signals, job);
  signals.give_up();
  if (doctor_app->parsed()) return doctor_command(*doctor_app, doctor, process_group);
  if (sample_app->parsed()) {
    sample_command(sample, process_group);
  } else if (chat_app->parsed()) {
    chat_command(chat, process_group);
  } else if (eval_app->parsed()) {
    eval_command(eval, process_group);
  } else if (neighbours_app->parsed()) {
    neighbours_command(neighbours, process_group);
  } else if (inspect_app->parsed()) {
    inspect_command(inspect, process_group);
  } else if (verify_app->parsed()) {
    verify_command(verify, process_group);
  } else if (tokenize_app->parsed()) {
    tokenize_command(tokenize, process_group);
  } else if (detokenize_app->parsed()) {
    detokenize_command(detokenize, process_group);
  } else if (compress_app->parsed()) {
    compress_command(compress, process_group);
  } else if (export_app->parsed()) {
    export_command(exported, process_group);
  } else if (plan_app->parsed()) {
    plan_command(arguments, process_group);
  } else if (manual_app->parsed()) {
    manual_command(app, manual, process_group);
  } else if (completion_app->parsed()) {
    completion_command(app, shell, process_group);
  } else if (report_app->parsed()) {
    report_command(report, process_group);
  } else if (watch_app->parsed()) {
    watch_command(watch, process_group);
  } else {
    bench_command(*bench_app, bench, process_group);
  }
  return EXIT_SUCCESS;
}

}  // namespace cllm::cli
