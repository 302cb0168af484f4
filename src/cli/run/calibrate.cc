#include "cllm/cli/run/calibrate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cllm/base/error.h"
#include "cllm/base/memory.h"
#include "cllm/base/output.h"
#include "cllm/base/processors.h"
#include "cllm/data/dataset.h"

namespace cllm::cli {
namespace {

/// Of a covariance of n inputs, as many positions say nothing about some directions.
void warn_of_short_text(const data::TokenView& text, std::uint64_t sequences,
                        const model::Layout& layout, const std::string& path) {
  const std::uint64_t context = layout.config().context;
  const std::uint64_t positions =
      sequences == 0 ? text.size() : std::min(text.size(), sequences * context);
  std::size_t widest = 0;
  for (const model::Tensor& tensor : layout.tensors()) widest = std::max(widest, tensor.columns);
  if (positions >= widest) return;
  put(stderr,
      fmt::format("warning: {} positions of {} say little about matrices with up to {} columns; "
                  "give more text or --calibrate-sequences\n",
                  positions, path, widest));
}

}  // namespace

void require_memory(std::uint64_t bytes, const char* what) {
  const auto needed = static_cast<double>(bytes), free = static_cast<double>(available_memory());
  if (needed <= free) return;
  fail("host {}: {} take {:.1f} GB and {:.1f} GB are free; use a host with more memory",
       host_name(), what, needed / 1e9, free / 1e9);
}

LiveLine::LiveLine() : live_(::isatty(STDOUT_FILENO) == 1) {}

void LiveLine::show(const std::string& text) {
  if (!live_) return;
  put(stdout, "\r\x1b[K" + text);
  painted_ = true;
}

void LiveLine::clear() {
  if (painted_) put(stdout, "\r\x1b[K");
  painted_ = false;
}

std::vector<compress::MatrixStatistics> calibrate(const LoadedModel& loaded,
                                                  const model::Model& model,
                                                  const std::string& text, std::uint64_t sequences,
                                                  int threads, LiveLine& line) {
  const data::DataPart part = loaded.load_part(text, threads);
  put(stdout, fmt::format("calibrates  on {} ({})\n", text, part.format));
  if (part.lost_bytes > 0) {
    put(stdout, fmt::format("note        {}: {}\n", text,
                            data::lost_text(part.lost_bytes, part.source_bytes)));
  }
  warn_of_short_text(part.tokens, sequences, model.layout(), text);
  return compress::measure_sensitivity(
      model, loaded.parameters.data(), part.tokens, sequences, threads,
      [&](double share) { line.show(fmt::format("calibrating {:.0f} %", 100 * share)); });
}

}  // namespace cllm::cli
