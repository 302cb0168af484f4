#include <fmt/format.h>

#include <filesystem>

#include "cllm/base/error.h"
#include "cllm/base/output.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/program.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/room.h"
#include "cllm/io/formats/export.h"
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

}  // namespace

void declare_export_options(CLI::App& app, ExportSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, kModelHelp)->type_name("PATH")->required();
  add_option(app, "--format", s.format, target_format(),
             "hf: a directory for transformers; gguf: a file for llama.cpp");
  add_option(app, "--type", s.type, type_format(),
             "how weights are stored; q8_0 and q4_0, of 8 and 4 bits, in gguf alone");
  add_option(app, "--out", s.out, "directory or file to write")->type_name("PATH")->required();
  add_option(app, "--shard-size", s.shard_megabytes,
             "largest file of weights of an hf directory, in MB of a million bytes")
      ->type_name("MB")
      ->capture_default_str();
}

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
    LoadedModel loaded(settings.checkpoint);
    const model::Layout& layout = loaded.model.layout();
    require_room(out, io::bytes_of(settings.type, layout.parameter_count() / 32 * 32));
    const io::ExportedModel model{.run = loaded.run,
                                  .layout = layout,
                                  .parameters = loaded.parameters.span(),
                                  .name = (loaded.path / "").parent_path().filename().string()};
    const io::ExportReport report =
        settings.format == ExportFormat::kTransformers
            ? io::export_transformers(out, model, settings.type,
                                      settings.shard_megabytes * kMegabyte)
            : io::export_gguf(out, model, settings.type);
    put(stdout, fmt::format("exported    {} ({}) as {} of type {}\n", loaded.path.string(),
                            loaded.format, report.architecture, io::name_of(settings.type)));
    for (const std::string& note : report.notes) put(stdout, fmt::format("note        {}\n", note));
    put(stdout,
        fmt::format("written     {}: {} bytes of tensors\n", out.string(), report.tensor_bytes));
  });
}

}  // namespace cllm::cli
