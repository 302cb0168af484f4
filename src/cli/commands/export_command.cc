#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "cllm/base/output.h"
#include "cllm/base/processors.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/program.h"
#include "cllm/cli/run/calibrate.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/room.h"
#include "cllm/compress/block_rounding.h"
#include "cllm/io/formats/export.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/merge.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {
namespace {

Format<io::ElementType> type_format() {
  using enum io::ElementType;
  return one_of<io::ElementType>(
      {{"f32", kF32}, {"f16", kF16}, {"bf16", kBf16}, {"q8_0", kQ8_0}, {"q4_0", kQ4_0}});
}

Format<ExportFormat> target_format() {
  return one_of<ExportFormat>({{"hf", ExportFormat::kTransformers}, {"gguf", ExportFormat::kGguf}});
}

void check_merge(const ExportSettings& settings, const LoadedModel& loaded) {
  const bool has_adapters = loaded.run.model.lora.rank > 0;
  if (settings.merge && !has_adapters) {
    fail("--merge: {} has no adapters; leave it out", loaded.path.string());
  }
  if (has_adapters && !settings.merge && settings.format == ExportFormat::kGguf) {
    fail(
        "--format gguf: {} has adapters, which would be lost; give --merge to add them to its "
        "matrices",
        loaded.path.string());
  }
}

/// The parameters with the adapters in them, a flat buffer of the layout without these.
AlignedBuffer<float> merge(const LoadedModel& loaded) {
  const model::Layout bare(model::without_adapters(loaded.run.model));
  AlignedBuffer<float> merged(bare.flat_size());
  model::merge(loaded.model.layout(), loaded.parameters.span(), bare, merged.span());
  return merged;
}

/// What --init-from was, of the run's state; empty where it doesn't say.
std::string base_of_run(const std::string& state) {
  constexpr std::string_view kInitial = "init from ";
  std::string base;
  const auto json = nlohmann::json::parse(state, nullptr, false);
  if (!json.is_object()) return base;
  for (const auto& start : json.value("history", nlohmann::json::array())) {
    const std::string how = start.is_object() ? start.value("start", "") : "";
    if (how.starts_with(kInitial)) base = how.substr(kInitial.size());
  }
  return base;
}

}  // namespace

void declare_export_options(CLI::App& app, ExportSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, kModelHelp)->type_name("PATH")->required();
  add_option(app, "--format", s.format, target_format(),
             "hf: a directory for transformers; gguf: a file for llama.cpp");
  add_option(app, "--type", s.type, type_format(),
             "how weights are stored; q8_0 and q4_0, of 8 and 4 bits, in gguf alone");
  app.add_flag(
      "--merge", s.merge,
      "add adapters to the model's matrices; without it, hf is the adapters alone, for PEFT");
  add_option(app, "--out", s.out, "directory or file to write")->type_name("PATH")->required();
  add_option(app, "--shard-size", s.shard_megabytes,
             "largest file of weights of an hf directory, in MB of a million bytes")
      ->type_name("MB")
      ->capture_default_str();
  add_option(app, "--calibrate", s.calibrate,
             "text or token FILE like what the model was trained on: weights of q8_0 and q4_0 are "
             "rounded together, so that outputs on it change least [each by itself]")
      ->type_name("FILE");
  add_option(app, "--calibrate-sequences", s.sequences,
             "evenly spaced sequences to read of it; 0 for all")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--threads", s.threads, "threads to calibrate with [all processors]")
      ->type_name("N");
}

namespace {

/// Moves the weights to what the type stores, by what their errors cost.
void fit(const ExportSettings& settings, LoadedModel& loaded, const model::ModelConfig& config) {
  const int threads = settings.threads > 0 ? settings.threads : useful_threads();
  kernels::prepare_blas(threads);
  const model::Model model(config, loaded.kernels);
  require_memory(compress::statistics_bytes(model.layout()), "the statistics of all matrices");
  LiveLine line;
  const auto statistics =
      calibrate(loaded, model, settings.calibrate, settings.sequences, threads, line);
  compress::round_to_blocks(settings.type, model.layout(), statistics, threads,
                            loaded.parameters.span(),
                            [&](const std::string& what) { line.show(what); });
  line.clear();
}

}  // namespace

void export_command(const ExportSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    constexpr std::uint64_t kMegabyte = 1'000'000;
    if (settings.shard_megabytes < 1 || settings.shard_megabytes > 1'000'000) {
      fail("--shard-size {}: give a number of MB from 1 to 1000000", settings.shard_megabytes);
    }
    // "model/" is the directory "model".
    std::filesystem::path out = settings.out;
    if (!out.has_filename()) out = out.parent_path();
    require_place(out);
    if (settings.threads < 0) fail("--threads {}: give at least 1", settings.threads);
    if (!settings.calibrate.empty()) {
      require_outside(out, "--calibrate", settings.calibrate);
      if (settings.format != ExportFormat::kGguf) {
        fail(
            "--calibrate: hf has no types that round weights together; leave it out, or give gguf");
      }
      if (io::block_elements(settings.type) == 1) {
        fail(
            "--calibrate: type {} rounds each weight by itself; leave it out, or give q8_0 or q4_0",
            io::name_of(settings.type));
      }
    }
    LoadedModel loaded(settings.checkpoint);
    check_merge(settings, loaded);
    if (settings.merge) loaded.parameters = merge(loaded);
    const model::Layout layout(settings.merge ? model::without_adapters(loaded.run.model)
                                              : loaded.run.model);
    loaded.run.model = layout.config();
    const bool is_adapters = layout.config().lora.rank > 0;
    if (!is_adapters) {
      require_room(out, io::bytes_of(settings.type, layout.parameter_count() / 32 * 32));
    }
    if (!settings.calibrate.empty()) fit(settings, loaded, layout.config());
    const io::ExportedModel model{.run = loaded.run,
                                  .layout = layout,
                                  .parameters = loaded.parameters.span(),
                                  .name = (loaded.path / "").parent_path().filename().string()};
    const io::ExportReport report = [&] {
      if (is_adapters) {
        return io::export_adapters(out, model, settings.type, base_of_run(loaded.run.state));
      }
      if (settings.format == ExportFormat::kGguf) {
        return io::export_gguf(out, model, settings.type);
      }
      return io::export_transformers(out, model, settings.type,
                                     settings.shard_megabytes * kMegabyte);
    }();
    put(stdout, fmt::format("exported    {} ({}) as {} of type {}\n", loaded.path.string(),
                            loaded.format, report.architecture, io::name_of(settings.type)));
    for (const std::string& note : report.notes) put(stdout, fmt::format("note        {}\n", note));
    put(stdout,
        fmt::format("written     {}: {} bytes of tensors\n", out.string(), report.tensor_bytes));
  });
}

}  // namespace cllm::cli
