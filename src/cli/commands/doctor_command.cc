#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cllm/base/denormals.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/parallel.h"
#include "cllm/base/quantities.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/machine/machine.h"
#include "cllm/cli/machine/measured_figures.h"
#include "cllm/cli/machine/probes.h"
#include "cllm/cli/machine/step_bench.h"
#include "cllm/cli/program.h"
#include "cllm/cli/run/embedding.h"
#include "cllm/cli/run/run_summary.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/families.h"
#include "cllm/model/flops.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/memory_budget.h"
#include "cllm/train/progress.h"
#include "cllm/train/work_sharing.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using ranks::in_agreement;
using ranks::ProcessGroup;

/// What a finding costs a run, as a share of its time, where it isn't measured.
constexpr double kRefused = std::numeric_limits<double>::infinity();
constexpr double kOvercrowded = 0.5, kNoAvx2 = 0.6, kSlowBlas = 0.75, kIdle = 0.3, kNoRoom = 0.2;
constexpr double kSlowDisk = 0.02, kBits = 0;

/// Below these shares of what they should be, hosts and threads are called slow.
constexpr double kEvenHosts = 0.9, kEvenThreads = 0.7;
/// Of a step: less is not worth a word.
constexpr double kExposed = 0.05;
constexpr double kSlowBytesPerSecond = 50e6;

/// A step that is expected to take longer is not measured, but estimated from a smaller model's.
constexpr double kLongStep = 3;
/// The least share of the matrix product that a step is expected to reach.
constexpr double kExpectedShare = 0.4;

/// Of hosts, more than these are not all listed.
constexpr std::size_t kMostHosts = 16;

std::string time_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return seconds < 60 ? fmt::format("{:.2g} s", seconds) : duration_text(seconds);
}

std::string size_text(std::size_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (bytes < std::size_t{1} << 20) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} MiB", bytes >> 20);
}

/// The settings of a training step of another preset.
TrainSettings with_preset(TrainSettings s, const model::Preset& preset) {
  s.preset = preset.name;
  s.shape = preset.shape;
  s.shape.vocabulary = default_vocabulary(s.preset);
  s.micro_batch = train::default_micro_batch(s.batch, s.shape.context);
  s.token_block =
      train::default_token_block(s.batch * s.shape.context, s.micro_batch * s.shape.context);
  return s;
}

double step_flops(const TrainSettings& s) {
  return static_cast<double>(s.batch * s.shape.context) *
         model::training_flops_per_token(model::Layout(s.shape));
}

/// One examination. All ranks go through it alike, with the same figures, and rank 0 speaks.
class Examination {
 public:
  Examination(const DoctorSettings& settings, ProcessGroup& process_group)
      : s_(settings.train),
        figures_path_(settings.figures),
        process_group_(process_group),
        directory_(s_.out.empty() ? "checkpoints" : s_.out) {}

  int run() {
    const Stopwatch clock;
    say("cllm-dist {}: what a run finds here, on {} rank{}", version(), process_group_.size(),
        process_group_.size() == 1 ? "" : "s");
    attempt([&] { machine_.emplace(prepare_machine(s_.threads, s_.products, process_group_)); });
    if (machine_) {
      look_at_machine();
      look_at_products();
      look_at_sums();
    }
    look_at_directory();
    if (machine_) look_at_step();
    write_figures();
    sum_up(clock.elapsed());
    return is_refused() ? EXIT_FAILURE : EXIT_SUCCESS;
  }

 private:
  struct Finding {
    double weight;
    std::string text;
  };

  template <typename... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) const {
    if (process_group_.rank() != 0) return;
    fmt::print("{}\n", fmt::format(format, std::forward<Args>(args)...));
    std::fflush(stdout);
  }

  void find(double weight, std::string text) { findings_.push_back({weight, std::move(text)}); }

  /// What a run does too, and is refused where it throws. Returns whether it was done.
  bool attempt(const std::function<void()>& work) {
    try {
      work();
      return true;
    } catch (const ReplicatedError& error) {
      find(kRefused, error.what());
      return false;
    }
  }

  bool is_refused() const { return std::ranges::count(findings_, kRefused, &Finding::weight) > 0; }

  void look_at_machine() {
    const char* label = "hosts   ";
    for (const std::string& line : ranks::site_table(machine_->sites)) {
      say("{}{}", std::exchange(label, "        "), line);
    }
    for (const std::string& note : ranks::placement_notes(machine_->sites)) say("note    {}", note);
    for (const std::string& warning : ranks::placement_warnings(machine_->sites)) {
      find(kOvercrowded, warning);
    }
    if (const std::string mixture = ranks::mixture_warning(machine_->sites); !mixture.empty()) {
      find(kBits, mixture);
    }
    if (const std::string& name = machine_->sites.front().kernels; !name.starts_with("avx")) {
      find(kNoAvx2, fmt::format("the kernels are the {} ones; use processors with AVX2, and unset "
                                "CLLM_KERNELS",
                                name));
    }
    const std::vector<std::string> cores = process_group_.all_gather(better_core());
    const auto slow = std::ranges::find_if(cores, [](const auto& core) { return !core.empty(); });
    if (slow != cores.end()) {
      find(kSlowBlas, fmt::format("OpenBLAS computes without AVX2 on a processor that has it; set "
                                  "OPENBLAS_CORETYPE={}",
                                  *slow));
    }
    std::atomic<int> flushing = 0;
    parallel(machine_->threads, [&](int) { flushing += flushes_denormals(); });
    attempt([&] {
      in_agreement(process_group_, [&] {
        if (flushing < machine_->threads)
          fail("threads compute with denormal numbers, which is slow");
      });
    });
  }

  /// The core that OpenBLAS should compute with here; empty where it does well.
  static std::string better_core() {
    if (kernels::products().has_fixed_order()) return {};
    const std::string name = kernels::blas_name();
    return kernels::better_blas_core(kernels::blas_description(), name.substr(name.rfind(' ') + 1),
                                     kernels::vector_units(), nullptr)
        .value_or("");
  }

  void look_at_products() {
    say("sgemm   matrix products, on one thread of each host, then on all:");
    attempt([&] { products_ = measure_products(*machine_, process_group_); });
    if (products_.empty()) return;
    const auto of_a_thread = [](const ProductRates& host) { return host.all / host.threads; };
    const ProductRates& slowest_host = *std::ranges::min_element(products_, {}, of_a_thread);
    const double best = of_a_thread(*std::ranges::max_element(products_, {}, of_a_thread));
    for (const ProductRates& host : products_) {
      if (products_.size() > kMostHosts && host.host != slowest_host.host) continue;
      const std::string all =
          host.threads == 1
              ? ""
              : fmt::format(", {:.1f} on {} threads: {:.0f} % of as many times one thread",
                            host.all / 1e9, host.threads,
                            100 * host.all / (host.threads * host.one));
      say("        {}: {:.1f} GFLOP/s on one thread{}{}", host.host, host.one / 1e9, all,
          products_.size() > kMostHosts ? "; the slowest host" : "");
    }
    const double even = of_a_thread(slowest_host) / best;
    if (even < kEvenHosts) {
      find(1 - even,
           fmt::format("host {} computes at {:.0f} % of the fastest host's speed, and all "
                       "wait for it; see what else runs there, or leave it out",
                       slowest_host.host, 100 * even));
    }
    // Of threads without processors of their own it is known why.
    if (!ranks::placement_warnings(machine_->sites).empty()) return;
    for (const ProductRates& host : products_) {
      const double share = host.all / (host.threads * host.one);
      if (share >= kEvenThreads) continue;
      find(
          1 - share,
          fmt::format("host {}: {} threads together are only {:.1f} times as fast as one; see what "
                      "else runs there, or give fewer --threads if two share a core",
                      host.host, host.threads, host.all / host.one));
      break;
    }
  }

  void look_at_sums() {
    if (process_group_.size() == 1) return;
    say("sums    allreduce of arrays over all ranks, while nothing else runs:");
    std::vector<std::vector<SumTime>> columns;
    std::string line = fmt::format("        {:>8}", "bytes");
    for (const auto& [name, method] : ranks::kAllreduceNames) {
      columns.push_back(measure_sums(method, process_group_));
      line += fmt::format("  {:>20}", name);
    }
    say("{}", line);
    const std::size_t rows = std::ranges::min(columns, {}, &std::vector<SumTime>::size).size();
    for (std::size_t row = 0; row < rows; ++row) {
      line = fmt::format("        {:>8}", size_text(columns.front()[row].bytes));
      for (const std::vector<SumTime>& column : columns) {
        const SumTime& time = column[row];
        line += fmt::format("  {:>20}",
                            fmt::format("{} {:6.3f} GB/s", time_text(time.seconds),
                                        static_cast<double>(time.bytes) / time.seconds / 1e9));
      }
      say("{}", line);
    }
    std::size_t best = 0;
    for (std::size_t i = 1; i < columns.size(); ++i) {
      if (columns[i][rows - 1].seconds < columns[best][rows - 1].seconds) best = i;
    }
    fastest_sum_ = ranks::kAllreduceNames[best].name;
    in_agreement(process_group_, [&] { process_group_.use(ranks::Allreduce::kAuto); });
    say("        auto: {}", process_group_.sums_text());
    costs_ = process_group_.costs();
  }

  void look_at_directory() {
    say("disk    writing and syncing a file in {}:", directory_.string());
    std::vector<fs::path> made;  // the deepest first
    const bool seen = attempt([&] {
      in_agreement(process_group_, [&] {
        if (process_group_.rank() != 0) return;
        for (fs::path path = fs::absolute(directory_); !fs::exists(path);
             path = path.parent_path()) {
          made.push_back(path);
        }
        make_directories(directory_);
      });
      require_seen_by_all(directory_, process_group_);
      disk_ = measure_disk(directory_, checkpoint_bytes(), process_group_);
    });
    std::error_code ignored;
    for (const fs::path& path : made) fs::remove(path, ignored);
    if (!seen) return;
    const auto bytes = static_cast<double>(checkpoint_bytes());
    say("        {:.2f} GB/s; a checkpoint of {} has {:.2g} GB and takes {}; {:.1f} GB are free",
        disk_.bytes_per_second / 1e9, s_.preset, bytes / 1e9,
        time_text(bytes / disk_.bytes_per_second), disk_.free_bytes / 1e9);
    if (!disk_.room.empty()) find(kNoRoom, disk_.room);
    if (disk_.bytes_per_second < kSlowBytesPerSecond) {
      find(kSlowDisk,
           fmt::format("--out {} is written to at {:.0f} MB/s; give a faster file system, "
                       "or save more rarely with --checkpoint-every",
                       directory_.string(), disk_.bytes_per_second / 1e6));
    }
  }

  std::uint64_t checkpoint_bytes() const {
    return train::CheckpointWriter::checkpoint_bytes(
        model::Layout(s_.shape), train::find_optimizer(s_.optimizer.name).buffers);
  }

  /// The memory budget of a run with these settings.
  train::MemoryBudget budget_of(const TrainSettings& s) const {
    return train::memory_budget(model::Layout(s.shape), trainer_options(s, machine_->threads), true,
                                usual_statistics(s.shape, process_group_.size(), machine_->threads),
                                process_group_);
  }

  /// Settings whose step is short enough to be measured where all ranks multiply matrices at `rate`
  /// FLOP/s: those asked for, if a run `fits`, or the largest preset's.
  TrainSettings measurable(bool fits, double rate) const {
    const auto is_short = [&](const TrainSettings& s) {
      return step_flops(s) < kLongStep * kExpectedShare * rate;
    };
    if (fits && is_short(s_)) return s_;
    TrainSettings largest = with_preset(s_, model::presets().front());
    for (const model::Preset& preset : model::presets()) {
      if (TrainSettings s = with_preset(s_, preset); is_short(s)) largest = std::move(s);
    }
    return largest;
  }

  void look_at_step() {
    const bool fits = attempt([&] {
      in_agreement(process_group_, [&] { process_group_.use(s_.allreduce); });
      in_agreement(process_group_,
                   [&] { check_memory(budget_of(s_), machine_->sites, process_group_.rank()); });
    });
    double all = 0;
    for (const ProductRates& host : products_) all += host.all;
    const TrainSettings measured = measurable(fits, all);
    say("step    training steps of {} ({}), {} sequences each:", measured.preset,
        model::shape_text(measured.shape), measured.batch);
    StepSeconds time;
    const auto measure = [&] {
      in_agreement(process_group_, [&] {
        check_memory(budget_of(measured), machine_->sites, process_group_.rank());
      });
      time = measure_step(measured, *machine_, process_group_);
    };
    if (!attempt(measure)) return;
    if (!figures_path_.empty()) measure_figures_of(measured, time);
    say("        {}: {} tokens/s, {:.0f} % of sgemm{}", time_text(time.all),
        count_text(static_cast<double>(measured.batch * measured.shape.context) / time.all),
        100 * step_flops(measured) / time.all / all, overlap_text(time));
    for (const std::string& note : sharing_notes(s_, machine_->sites)) find(kIdle, note);
    const double exposed = time.exposed / time.all;
    if (exposed > kExposed) {
      find(
          exposed,
          fmt::format("computation waits for sums of gradients {:.0f} % of the time; give a larger "
                      "--batch, or fewer ranks with more threads, or a faster network "
                      "(while nothing else runs, --allreduce {} is the fastest)",
                      100 * exposed, fastest_sum_));
    }
    tell_presets(measured, time);
  }

  void measure_figures_of(const TrainSettings& measured, const StepSeconds& time) {
    attempt([&] {
      const FigureTable figures = measure_figures(measured, time, *machine_, costs_,
                                                  disk_.bytes_per_second, process_group_);
      figures_ = figures_file(figures, measured, *machine_);
    });
  }

  void write_figures() {
    if (figures_path_.empty() || figures_.empty()) return;
    const auto write = [&] {
      if (process_group_.rank() == 0) {
        write_atomically(figures_path_, std::as_bytes(std::span(figures_)));
      }
    };
    if (attempt([&] { in_agreement(process_group_, write); })) {
      say("figures for plan are in {}", figures_path_.string());
    }
  }

  std::string overlap_text(const StepSeconds& time) const {
    if (process_group_.size() == 1) return {};
    const double sums = time.exposed + time.hidden;
    return fmt::format(
        "; summing gradients takes {}, {:.0f} % of it while computation goes on; computation waits "
        "for the rest, {:.0f} % of the step",
        time_text(sums), sums > 0 ? 100 * time.hidden / sums : 100, 100 * time.exposed / time.all);
  }

  /// Seconds of a step of `s`: its computation or its sums, whichever take longer, from those that
  /// were measured.
  static double estimate(const TrainSettings& s, const TrainSettings& measured,
                         const StepSeconds& time) {
    const auto parameters = [](const TrainSettings& of) {
      return static_cast<double>(model::Layout(of.shape).parameter_count());
    };
    return std::max((time.all - time.exposed) * step_flops(s) / step_flops(measured),
                    (time.exposed + time.hidden) * parameters(s) / parameters(measured));
  }

  /// What a step of each preset takes, measured or estimated, and of what was asked for.
  void tell_presets(const TrainSettings& measured, const StepSeconds& time) const {
    say("presets with {} sequences a step; estimated from {}", s_.batch, measured.preset);
    say("        {:<12} {:>12} {:>10} {:>12} {:>16}", "preset", "parameters", "step", "tokens/s",
        "memory per rank");
    for (const model::Preset& preset : model::presets()) {
      const TrainSettings s = preset.name == s_.preset ? s_ : with_preset(s_, preset);
      const bool is_measured = s.shape == measured.shape;
      const double seconds = is_measured ? time.all : estimate(s, measured, time);
      const auto memory = static_cast<double>(budget_of(s).total());
      say("        {:<12} {:>12} {:>10} {:>12} {:>13.1f} GB  {}", s.preset,
          count_text(static_cast<double>(model::Layout(s.shape).parameter_count())),
          time_text(seconds), count_text(static_cast<double>(s.batch * s.shape.context) / seconds),
          memory / 1e9, is_measured ? "measured" : "estimated");
    }
  }

  void sum_up(double seconds) {
    std::ranges::stable_sort(findings_, std::greater(), &Finding::weight);
    if (findings_.empty()) {
      say("no problems found, in {:.0f} s", seconds);
      return;
    }
    say("problems found, the most costly first:");
    for (std::size_t i = 0; i < findings_.size(); ++i) {
      say("{:>3}. {}{}", i + 1, findings_[i].weight == kRefused ? "a run would be refused: " : "",
          findings_[i].text);
    }
  }

  const TrainSettings& s_;
  fs::path figures_path_;  ///< empty where nobody asks for them
  ProcessGroup& process_group_;
  fs::path directory_;
  std::vector<Finding> findings_;
  std::optional<Machine> machine_;  ///< where ranks can compute
  std::vector<ProductRates> products_;
  std::string fastest_sum_;
  std::optional<ranks::Costs> costs_;  ///< of messages, where there are several ranks
  std::string figures_;                ///< what is written of them
  DiskRate disk_;
};

}  // namespace

void declare_doctor_options(CLI::App& app, DoctorSettings& s) {
  s.train.preset = "small";
  declare_step_options(app, s.train);
  add_option(app, "--out", s.train.out, "directory that a run would write into [checkpoints]")
      ->type_name("DIR");
  add_option(app, "--figures", s.figures, "write what plan needs to know of these hosts")
      ->type_name("FILE");
}

int doctor_command(const CLI::App& app, DoctorSettings& settings, ProcessGroup& process_group) {
  in_agreement(process_group, [&] {
    resolve_step(app, settings.train);
    if (process_group.rank() == 0 && fs::exists(settings.figures)) {
      fail("--figures {} exists already; remove it or give another name", settings.figures);
    }
  });
  return Examination(settings, process_group).run();
}

}  // namespace cllm::cli
