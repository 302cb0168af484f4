#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cllm/base/error.h"
#include "cllm/base/output.h"
#include "cllm/base/processors.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/program.h"
#include "cllm/cli/run/calibrate.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/room.h"
#include "cllm/compress/compress.h"
#include "cllm/io/compressed_model.h"
#include "cllm/kernels/blas.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {
namespace {

Format<lattice::Method> method_format() {
  using enum lattice::Method;
  return one_of<lattice::Method>({{name_of(kRounding), kRounding},
                                  {name_of(kBabai), kBabai},
                                  {name_of(kReducedBabai), kReducedBabai},
                                  {name_of(kE8), kE8}});
}

Format<lattice::Spacing> spacing_format() {
  return one_of<lattice::Spacing>(
      {{"shaped", lattice::Spacing::kShaped}, {"equal", lattice::Spacing::kEqual}});
}

/// What /run/compression says.
std::string describe(const CompressSettings& settings, const compress::CompressedParameters& result,
                     const std::string& checkpoint, const std::string& version) {
  nlohmann::json matrices = nlohmann::json::array();
  for (const compress::MatrixReport& report : result.reports) {
    matrices.push_back({{"name", report.name}, {"bits", report.bits}, {"loss", report.loss}});
  }
  return nlohmann::json{
      {"checkpoint", std::filesystem::path(checkpoint).filename().string()},
      {"calibration", std::filesystem::path(settings.calibrate).filename().string()},
      {"sequences", settings.sequences},
      {"bits", settings.bits},
      {"spacing", spacing_format().write(settings.spacing)},
      {"program", version},
      {"matrices", std::move(matrices)}}
      .dump();
}

void print_sizes(const compress::CompressedParameters& result, const model::Layout& layout,
                 const std::filesystem::path& out) {
  double weights = 0, code_bits = 0, loss = 0, certificate_bytes = 0;
  for (const compress::MatrixReport& report : result.reports) {
    put(stdout, fmt::format("  {:<28} {:>7.3f} bits per weight, adds {:.2e} nats\n", report.name,
                            report.bits, report.loss));
    weights += static_cast<double>(report.weights);
    code_bits += report.bits * static_cast<double>(report.weights);
    loss += report.loss;
  }
  for (const std::string& certificate : result.matrices.certificates) {
    certificate_bytes += static_cast<double>(certificate.size());
  }
  const auto size = static_cast<double>(std::filesystem::file_size(out));
  const double floats = 4 * static_cast<double>(layout.parameter_count());
  put(stdout,
      fmt::format("matrices    {:.3f} bits per weight, {:.0f} bytes; expected to add {:.5f} nats "
                  "per token (to second order)\n",
                  code_bits / weights, code_bits / 8, loss));
  if (certificate_bytes > 0) {
    put(stdout, fmt::format("lattices    {:.0f} bytes of certificates\n", certificate_bytes));
  }
  put(stdout,
      fmt::format("file        {}: {:.0f} bytes, {:.4f} of the float32 parameters, {:.3f} bits per "
                  "parameter\n",
                  out.string(), size, size / floats, 32 * size / floats));
}

}  // namespace

void declare_compress_options(CLI::App& app, CompressSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, kModelHelp)->type_name("PATH")->required();
  add_option(app, "--calibrate", s.calibrate,
             "text or token FILE like what the model was trained on, to see which errors matter")
      ->type_name("FILE")
      ->required();
  add_option(app, "--out", s.out, "file to write")->type_name("FILE")->required();
  add_option(app, "--bits", s.bits,
             "bits of a weight, on average: 8, 4, 3 or another number from 1 to 12")
      ->type_name("B")
      ->capture_default_str();
  add_option(
      app, "--method", s.method, method_format(),
      "how weights are rounded: each by itself, or to the nearest point of a lattice, column "
      "by column (babai), in LLL-reduced bases (lll), or eight columns at a time (e8)");
  add_option(app, "--spacing", s.spacing, spacing_format(),
             "shaped: finer steps where errors cost more; equal: one step size for each matrix");
  add_option(app, "--calibrate-sequences", s.sequences,
             "evenly spaced sequences to read of it; 0 for all")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--threads", s.threads, "threads to compute with [all processors]")
      ->type_name("N");
}

void compress_command(const CompressSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const compress::CompressOptions options{
        .method = settings.method,
        .spacing = settings.spacing,
        .bits = settings.bits,
        .threads = settings.threads > 0 ? settings.threads : useful_threads()};
    if (!(settings.bits >= 1 && settings.bits <= 12)) {
      fail("--bits {}: give a number from 1 to 12", settings.bits);
    }
    if (settings.threads < 0) fail("--threads {}: give at least 1", settings.threads);
    require_place(settings.out);
    require_outside(settings.out, "--calibrate", settings.calibrate);
    kernels::prepare_blas(options.threads);
    LoadedModel loaded(settings.checkpoint);
    if (!loaded.run.compression.empty()) {
      fail("{} is compressed already; give the checkpoint that it was made of",
           loaded.path.string());
    }
    if (loaded.run.model.lora.rank > 0) {
      fail("{} has adapters; write it whole by export --merge, and compress that",
           loaded.path.string());
    }
    const model::Layout& layout = loaded.model.layout();
    require_memory(compress::compress_bytes(layout), "the lattices of all matrices");
    require_room(settings.out,
                 static_cast<std::uint64_t>(settings.bits / 8 *
                                            static_cast<double>(layout.parameter_count())));
    LiveLine line;
    const auto statistics = calibrate(loaded, loaded.model, settings.calibrate, settings.sequences,
                                      options.threads, line);
    const compress::CompressedParameters result =
        compress::compress(layout, loaded.parameters.span(), statistics, options,
                           [&](const std::string& what) { line.show(what); });
    line.clear();
    loaded.run.compression =
        describe(settings, result, loaded.path.string(), std::string(version()));
    loaded.run.program_version = version();
    loaded.run.freeze.clear();  // there is nothing that an optimizer keeps
    io::write_compressed_model(settings.out, loaded.run, layout, result.matrices,
                               loaded.parameters.span());
    print_sizes(result, layout, settings.out);
  });
}

}  // namespace cllm::cli
