#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cllm/base/stop_signals.h"
#include "cllm/base/thread_pool.h"
#include "cllm/cli/arguments.h"
#include "cllm/cli/run/figures.h"
#include "cllm/cli/run/settings.h"
#include "cllm/cli/run/time_left.h"
#include "cllm/cli/shell_completion.h"
#include "cllm/collectives/schedule.h"
#include "cllm/io/formats/element_type.h"
#include "cllm/lattice/weight_lattice.h"
#include "cllm/model/generator.h"
#include "cllm/plan/token_rows.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

// Each command is called by all ranks alike, after the command line was read. Errors that one rank
// meets alone while others wait are thrown as Error; those that all agree on, as ReplicatedError.

struct SampleSettings {
  std::string checkpoint;
  std::string prompt;   ///< empty: a new line
  std::string prompts;  ///< a file of them; empty: none
  std::uint64_t tokens = 200;
  std::uint64_t seed = 1;
  model::SamplingOptions options;
  bool stops_at_end = true;
  bool jsonl = false;
  int threads = 0;
};

struct ChatSettings {
  std::string checkpoint;
  std::string system;  ///< empty: none
  std::uint64_t tokens = 512;
  std::uint64_t seed = 1;
  model::SamplingOptions options;
  int threads = 0;
};

struct EvalSettings {
  std::string checkpoint;
  std::string data;
  std::uint64_t sequences = 0;  ///< 0: all
  std::string by_frequency;
  int threads = 0;
};

struct NeighboursSettings {
  std::string checkpoint;
  std::string token;
  std::uint64_t count = 10;
};

struct InspectSettings {
  std::string path;
  bool tensors = false;
};

struct VerifySettings {
  std::string path;
};

struct TokenizeSettings {
  std::string data;
  std::string document_separator;  ///< empty: a file of plain text is one document
  std::string tokenizer;
  data::SpecialTokens special_tokens = data::SpecialTokens::kEndOfText;
  std::string out;
};

struct DetokenizeSettings {
  std::string data;
  std::string tokenizer;
  std::string out;
};

struct CompressSettings {
  std::string checkpoint;
  std::string calibrate;
  std::string out;
  double bits = 4;
  lattice::Method method = lattice::Method::kE8;
  lattice::Spacing spacing = lattice::Spacing::kShaped;
  std::uint64_t sequences = 256;
  int threads = 0;
};

enum class ExportFormat { kTransformers, kGguf };

struct ExportSettings {
  std::string checkpoint;
  std::string out;
  ExportFormat format = ExportFormat::kTransformers;
  io::ElementType type = io::ElementType::kF32;
  std::uint64_t shard_megabytes = 5000;
  std::string calibrate;  ///< text that quantised weights are fitted to; empty: plain rounding
  std::uint64_t sequences = 256;
  int threads = 0;
  bool merge = false;
};

struct ManualSettings {
  std::string command;    ///< empty: the program
  std::string directory;  ///< for all pages; empty: the one page is printed
};

struct ReportSettings {
  std::vector<std::string> runs;
  std::string out = "report.html";
  bool overwrite = false;
};

struct WatchSettings {
  std::vector<std::string> runs;
  double every = 5;  ///< seconds
};

struct BenchSettings {
  TrainSettings train;
  std::uint64_t steps = 10;
  bool json = false;
};

struct DoctorSettings {
  TrainSettings train;
  std::string figures;  ///< where what plan needs is written; empty: nowhere
};

struct PlanSettings {
  TrainSettings train;
  FigureTable figures;
  std::vector<std::string> figure_files;
  std::map<std::string, double> given;  ///< figures, by name
  double peak_gflops = 0;               ///< of a core; 0: not given
  double share_of_peak = 0.65;          ///< that a step reaches of it
  double sequence_seconds = 0;          ///< that a core takes for a sequence; 0: not given
  plan::Frequencies frequencies = plan::Frequencies::kZipf;
  std::optional<collectives::Pattern> sums;  ///< between hosts; nothing: as auto does
  std::vector<std::size_t> hosts = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
  std::size_t host_batch = 4;
  int ranks_per_host = 0;  ///< 0: what takes least
  double efficiency = 0.9;
  double tokens = 0;               ///< of the whole run; 0: kTokensPerParameter for each parameter
  double checkpoint_every = 1800;  ///< seconds
  bool json = false;
};

/// How a token is drawn, its random numbers, and the threads that compute.
void declare_sampling_options(CLI::App& app, model::SamplingOptions& options, std::uint64_t& seed,
                              int& threads);
/// So many threads, ready to compute. Throws Error, naming
/// --threads, where it can't be.
ThreadPool sampling_threads(int threads);
void declare_sample_options(CLI::App& app, SampleSettings& settings);
void declare_chat_options(CLI::App& app, ChatSettings& settings);
void declare_eval_options(CLI::App& app, EvalSettings& settings);
void declare_neighbours_options(CLI::App& app, NeighboursSettings& settings);
void declare_inspect_options(CLI::App& app, InspectSettings& settings);
void declare_verify_options(CLI::App& app, VerifySettings& settings);
void declare_tokenize_options(CLI::App& app, TokenizeSettings& settings);
void declare_detokenize_options(CLI::App& app, DetokenizeSettings& settings);
void declare_compress_options(CLI::App& app, CompressSettings& settings);
void declare_export_options(CLI::App& app, ExportSettings& settings);
void declare_manual_options(CLI::App& app, ManualSettings& settings);
void declare_completion_options(CLI::App& app, Shell& shell);
void declare_report_options(CLI::App& app, ReportSettings& settings);
void declare_watch_options(CLI::App& app, WatchSettings& settings);
void declare_bench_options(CLI::App& app, BenchSettings& settings);
void declare_doctor_options(CLI::App& app, DoctorSettings& settings);
void declare_plan_options(CLI::App& app, PlanSettings& settings);

/// Trains, for at most what is left of `job`. `arguments` are those of the command line, to be read
/// again behind those of --config and of the checkpoint that --resume names. Returns the exit code:
/// EX_TEMPFAIL (75) where the run stopped, saved, before it was complete.
int train_command(const Arguments& arguments, ranks::ProcessGroup& process_group,
                  const StopSignals& signals, const TimeLeft& job);

/// Continues prompts and writes the texts to standard output; that of a single one as it is made.
void sample_command(const SampleSettings& settings, ranks::ProcessGroup& process_group);

/// Speaks with a person: reads messages from standard input, and writes a model's answers to
/// standard output, until the input ends.
void chat_command(const ChatSettings& settings, ranks::ProcessGroup& process_group);

/// Prints mean loss, perplexity and bits per byte of a checkpoint on a text, and the losses of
/// rare and frequent tokens apart.
void eval_command(const EvalSettings& settings, ranks::ProcessGroup& process_group);

/// Prints the tokens that are most like one, by the model's token embedding and by prime
/// signatures.
void neighbours_command(const NeighboursSettings& settings, ranks::ProcessGroup& process_group);

/// Prints what a checkpoint holds, and checks that it is whole.
void inspect_command(const InspectSettings& settings, ranks::ProcessGroup& process_group);

/// Reads checkpoints and token files to their end, and prints of each whether it is whole.
void verify_command(const VerifySettings& settings, ranks::ProcessGroup& process_group);

/// Writes a checkpoint's weights as points of a lattice, in a few bits each.
void compress_command(const CompressSettings& settings, ranks::ProcessGroup& process_group);

/// Writes a model for transformers or llama.cpp.
void export_command(const ExportSettings& settings, ranks::ProcessGroup& process_group);

/// Writes one HTML page about runs.
void report_command(const ReportSettings& settings, ranks::ProcessGroup& process_group);

/// Shows runs in the terminal until they are complete or somebody interrupts it; where the output
/// is no terminal, once.
void watch_command(const WatchSettings& settings, ranks::ProcessGroup& process_group);

/// Measures training steps of a model on random tokens against this machine's matrix product.
void bench_command(const CLI::App& app, BenchSettings& settings,
                   ranks::ProcessGroup& process_group);

/// Looks at what a run finds here, measures what it depends on, and says what to mend. Returns the
/// exit code: EXIT_FAILURE where a run would be refused.
int doctor_command(const CLI::App& app, DoctorSettings& settings,
                   ranks::ProcessGroup& process_group);

/// Prints a manual page of `program`, which has all commands and options, or writes all pages.
void manual_command(const CLI::App& program, const ManualSettings& settings,
                    ranks::ProcessGroup& process_group);

/// Prints what completes its command lines in `shell`.
void completion_command(const CLI::App& program, Shell shell, ranks::ProcessGroup& process_group);
/// Prints what steps of a model will take on clusters of many hosts, on rank 0. `arguments` are
/// those of the command line, to be read again behind those of --config.
void plan_command(const Arguments& arguments, ranks::ProcessGroup& process_group);

/// Turns a corpus into token files.
void tokenize_command(const TokenizeSettings& settings, ranks::ProcessGroup& process_group);

/// Writes the text of a token file, to a file or to standard output.
void detokenize_command(const DetokenizeSettings& settings, ranks::ProcessGroup& process_group);

}  // namespace cllm::cli
