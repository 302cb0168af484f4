#include "cllm/train/metrics.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "cllm/base/error.h"
#include "cllm/base/file.h"

namespace cllm::train {
namespace {

/// The whole lines of `text` that are of steps up to `last_step`. A last line that was cut off
/// goes.
std::string lines_up_to(const std::string& text, std::uint64_t last_step) {
  std::string kept;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    const auto step = object.find("step");
    if (step != object.end() && step->is_number_unsigned() && *step <= last_step)
      kept += line + '\n';
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::uint64_t last_step) : path_(path) {
  if (std::filesystem::exists(path)) {
    const std::string text = read_file(path);
    const std::string kept = lines_up_to(text, last_step);
    if (kept != text) write_atomically(path, std::as_bytes(std::span(kept)));
  }
  file_.reset(std::fopen(path.c_str(), "a"));
  if (!file_) fail("cannot write {}: {}", path.string(), std::strerror(errno));
}

void MetricsLog::step(std::uint64_t state_step, std::uint64_t tokens_seen,
                      std::uint64_t step_tokens, const StepReport& r) {
  nlohmann::ordered_json object = {{"step", state_step},
                                   {"loss", r.loss},
                                   {"lr", r.rate},
                                   {"grad_norm", r.gradient_norm},
                                   {"tokens", tokens_seen},
                                   {"tokens_per_s", static_cast<double>(step_tokens) / r.seconds()},
                                   {"seconds",
                                    {{"compute", r.compute_seconds},
                                     {"communication", r.communication_seconds},
                                     {"hidden_communication", r.hidden_communication_seconds},
                                     {"update", r.update_seconds}}}};
  if (!r.overflowed.empty()) object["overflowed"] = r.overflowed;
  write(object.dump());
}

void MetricsLog::evaluation(std::uint64_t state_step, std::uint64_t tokens_seen,
                            const Evaluation& evaluation) {
  const nlohmann::ordered_json object = {{"step", state_step},
                                         {"val_loss", evaluation.loss},
                                         {"val_tokens", evaluation.positions},
                                         {"tokens", tokens_seen},
                                         {"seconds", {{"evaluation", evaluation.seconds}}}};
  write(object.dump());
}

void MetricsLog::write(const std::string& line) {
  if (std::fputs((line + '\n').c_str(), file_.get()) < 0 || std::fflush(file_.get()) != 0) {
    fail("cannot write {}: {}; free some space and go on with --resume", path_.string(),
         std::strerror(errno));
  }
}

}  // namespace cllm::train
