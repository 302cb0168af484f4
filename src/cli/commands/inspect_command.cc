#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/error.h"
#include "cllm/base/quantities.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/starting_point.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/io/hdf5.h"
#include "cllm/lattice/figures.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/progress.h"

namespace cllm::cli {
namespace {

/// What the state of a run says of evaluations and of how the run came about.
void print_story(const nlohmann::json& state) {
  for (const char* name : {"validation", "best"}) {
    if (!state.contains(name)) continue;
    const nlohmann::json& score = state.at(name);
    fmt::print("{:<11} loss {:.4f} after step {}\n", name, score.at("loss").get<double>(),
               score.at("step").get<std::uint64_t>());
  }
  for (const nlohmann::json& start : state.value("history", nlohmann::json::array())) {
    const auto number = [&](const char* name) { return start.at(name).get<std::uint64_t>(); };
    const auto text = [&](const char* name) { return start.at(name).get<std::string>(); };
    fmt::print("history     steps {} to {}: {}, cllm-dist {}, ranks {}, threads {}, hosts {}, {}\n",
               number("from_step"), number("to_step"), text("start"), text("program"),
               number("ranks"), number("threads"), number("hosts"), text("reduce"));
  }
}

/// The reduced basis of a band's codes.
void print_lattice(const io::RunState& run, std::size_t band, const lattice::Certificate& lattice) {
  const lattice::Figures figures = lattice::figures(lattice);
  fmt::print(
      "lattice     {}proved LLL-reduced (delta {}); orthogonality defect 2^{:.1f} before, 2^{:.1f} "
      "after; shortest vector {}\n",
      run.model.has_bands() ? fmt::format("band {}: ", band) : "", lattice.delta,
      figures.log2_defect_before, figures.log2_defect_after,
      figures.shortest_exact
          ? fmt::format("{:.4g}", figures.shortest_found / lattice.scale)
          : fmt::format("from {:.4g} to {:.4g}", figures.shortest_least / lattice.scale,
                        figures.shortest_found / lattice.scale));
}

/// What the token embedding started from.
void print_embedding(const io::RunState& run) {
  const nlohmann::json facts = nlohmann::json::parse(embedding_facts(run.state));
  const std::size_t width = run.model.embedding_width();
  if (facts.value("init", "") == "corpus") {
    fmt::print(
        "embedding   started from the corpus: {} dimensions explain {:.1f} % of its "
        "co-occurrences; "
        "{} of {} rare tokens started from tokens that share their pieces\n",
        width, 100 * facts.at("energy_kept").get<double>(),
        facts.at("from_relatives").get<std::uint64_t>(),
        facts.at("rare_tokens").get<std::uint64_t>());
  }
  for (const auto& [band, lattice] : run.lattices) print_lattice(run, band, lattice);
}

/// What a compressed model says of how it was made, and of each matrix where that is asked for.
void print_compression(const std::string& text, bool matrices) {
  try {
    const nlohmann::json how = nlohmann::json::parse(text);
    double loss = 0;
    for (const nlohmann::json& matrix : how.at("matrices")) loss += matrix.at("loss").get<double>();
    fmt::print(
        "compressed  from {} to {} bits per weight, {} spacing, {} sequences of {}; expected to "
        "add {:.5f} nats per token\n",
        how.at("checkpoint").get<std::string>(), how.at("bits").get<double>(),
        how.at("spacing").get<std::string>(), how.at("sequences").get<std::uint64_t>(),
        how.at("calibration").get<std::string>(), loss);
    for (const nlohmann::json& matrix : how.at("matrices")) {
      if (!matrices) break;
      fmt::print("  {:<40} {:.3f} bits per weight\n", matrix.at("name").get<std::string>(),
                 matrix.at("bits").get<double>());
    }
  } catch (const nlohmann::json::exception&) {
    fmt::print("compressed  how is not said\n");
  }
}

void print_tensors(std::span<const io::TensorSummary> tensors) {
  for (const io::TensorSummary& tensor : tensors) {
    fmt::print("  {:<40} {:<8} {:<16} {}\n", tensor.path, tensor.type, io::shape_text(tensor.shape),
               tensor.digest);
  }
}

void print_summary(const std::filesystem::path& path, const io::CheckpointSummary& summary,
                   bool tensors) {
  const io::RunState& run = summary.run;
  const model::Layout layout(run.model);
  fmt::print("checkpoint  {}\n", path.string());
  fmt::print("model       {}; {} parameters\n", model::shape_text(run.model),
             count_text(static_cast<double>(layout.parameter_count())));
  fmt::print("trained     {} steps, {} tokens, seed {}\n", run.step,
             count_text(static_cast<double>(run.tokens_seen)), run.seed);
  fmt::print("tokenizer   {}, {} bytes\n", run.tokenizer_kind, run.tokenizer_blob.size());
  fmt::print("written by  cllm-dist {}\n", run.program_version);
  try {
    print_embedding(run);
    print_story(nlohmann::json::parse(run.state));
  } catch (const nlohmann::json::exception&) {
    fmt::print("state       cannot be read: it is not what a run writes\n");
  }
  if (!run.compression.empty()) print_compression(run.compression, tensors);
  if (tensors) print_tensors(summary.tensors);
  fmt::print("configuration\n");
  std::size_t start = 0;
  while (start < run.config.size()) {
    const std::size_t end = std::min(run.config.find('\n', start), run.config.size());
    fmt::print("  {}\n", run.config.substr(start, end - start));
    start = end + 1;
  }
}

/// The same of another program's model, which has no story.
void print_foreign(const std::filesystem::path& path, bool tensors) {
  const io::ModelHead head = io::read_model_head(path);
  const model::Layout layout(head.run.model);
  fmt::print("model       {}: {}; {} parameters\n", head.format, model::shape_text(head.run.model),
             count_text(static_cast<double>(layout.parameter_count())));
  if (head.tokenizer_note.empty()) {
    fmt::print("tokenizer   {}, {} bytes\n", head.run.tokenizer_kind,
               head.run.tokenizer_blob.size());
  } else {
    fmt::print("tokenizer   none: {}\n", head.tokenizer_note);
  }
  if (tensors) print_tensors(io::list_foreign_tensors(path));
  AlignedBuffer<float> parameters(layout.flat_size());
  io::read_model_weights(path, layout, parameters.span());
  fmt::print("whole       every tensor is there and finite\n");
  std::fflush(stdout);
}

}  // namespace

void declare_inspect_options(CLI::App& app, InspectSettings& s) {
  add_option(app, "path", s.path, kModelHelp)->type_name("PATH")->required();
  app.add_flag("--tensors", s.tensors, "list every tensor with its shape and digest");
}

void inspect_command(const InspectSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const std::filesystem::path path = find_checkpoint(settings.path);
    if (io::format_of(path) != io::ModelFormat::kCheckpoint) {
      return print_foreign(path, settings.tensors);
    }
    const io::CheckpointSummary summary = io::describe_checkpoint(path);
    print_summary(path, summary, settings.tensors);
    const std::vector<std::string> problems = summary.problems();
    for (const std::string& problem : problems) fmt::print("broken      {}\n", problem);
    std::fflush(stdout);
    if (!problems.empty()) {
      fail("{} is not whole; use an earlier checkpoint", path.string());
    }
    fmt::print("whole       every tensor agrees with its digest\n");
    std::fflush(stdout);
  });
}

}  // namespace cllm::cli
