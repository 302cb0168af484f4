#include "cllm/train/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"

namespace cllm::train {
namespace {

/// The whole lines of `text` that are of steps up to `last_step`, and, where they are to stay, of
/// going back to it. A last line that was cut off goes.
std::string lines_up_to(const std::string& text, std::uint64_t last_step, bool with_rollbacks) {
  std::string kept;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    const auto step = object.find("step");
    if (step == object.end() || !step->is_number_unsigned()) continue;
    const bool stays = with_rollbacks && object.contains("rollback") && *step == last_step + 1;
    if (*step <= last_step || stays) kept += line + '\n';
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::uint64_t last_step) : path_(path) {
  open(last_step, false);
}

MetricsLog::~MetricsLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MetricsLog::open(std::uint64_t last_step, bool with_rollbacks) {
  if (std::filesystem::exists(path_)) {
    const std::string text = read_file(path_);
    const std::string kept = lines_up_to(text, last_step, with_rollbacks);
    if (kept != text) write_atomically(path_, std::as_bytes(std::span(kept)));
  }
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("cannot write {}: {}", path_.string(), std::strerror(errno));
}

void MetricsLog::go_back(std::uint64_t last_step) {
  waiting_ = lines_up_to(waiting_, last_step, true);
  ::close(std::exchange(descriptor_, -1));
  open(last_step, true);
}

void MetricsLog::sync() const { ::fsync(descriptor_); }

void MetricsLog::step(std::uint64_t state_step, std::uint64_t tokens_seen,
                      std::uint64_t step_tokens, const StepReport& r) {
  nlohmann::ordered_json object = {{"step", state_step},
                                   {"loss", r.loss},
                                   {"lr", r.learning_rate},
                                   {"grad_norm", r.gradient_norm},
                                   {"tokens", tokens_seen},
                                   {"tokens_per_s", static_cast<double>(step_tokens) / r.seconds()},
                                   {"seconds",
                                    {{"compute", r.compute_seconds},
                                     {"communication", r.communication_seconds},
                                     {"hidden_communication", r.hidden_communication_seconds},
                                     {"update", r.update_seconds}}}};
  if (r.targets) object["targets"] = *r.targets;
  if (!r.overflowed.empty()) object["overflowed"] = r.overflowed;
  if (r.outcome == Outcome::kClipped) object["spike"] = "clipped";
  if (r.outcome == Outcome::kSkipped) object["spike"] = "skipped";
  write(object.dump());
}

void MetricsLog::evaluation(std::uint64_t state_step, std::uint64_t tokens_seen,
                            const Evaluation& evaluation) {
  nlohmann::ordered_json object = {{"step", state_step},
                                   {"val_loss", evaluation.loss},
                                   {"val_tokens", evaluation.positions},
                                   {"tokens", tokens_seen},
                                   {"seconds", {{"evaluation", evaluation.seconds}}}};
  for (const TextEvaluation& text : evaluation.texts) {
    object["sources"].push_back(nlohmann::ordered_json{
        {"data", text.name}, {"val_loss", text.loss}, {"val_tokens", text.positions}});
  }
  write(object.dump());
}

void MetricsLog::checkpoint(const SavedCheckpoint& saved) {
  nlohmann::ordered_json object = {{"step", saved.step},
                                   {"checkpoint", saved.path.filename().string()},
                                   {"bytes", saved.bytes},
                                   {"seconds",
                                    {{"pause", saved.pause_seconds},
                                     {"write", saved.write_seconds},
                                     {"with_check", saved.seconds}}}};
  if (!saved.problem.empty()) object["problem"] = saved.problem;
  if (!saved.warning.empty()) object["warning"] = saved.warning;
  write(object.dump());
}

void MetricsLog::replicas(std::uint64_t state_step, const std::string& found) {
  write(nlohmann::ordered_json{{"step", state_step}, {"replicas", found}}.dump());
}

void MetricsLog::rollback(std::uint64_t state_step, std::uint64_t from, double norm) {
  // Of the next step: a run that resumes here goes through all of it again.
  const nlohmann::ordered_json object = {
      {"step", state_step + 1}, {"rollback", {{"to", state_step}, {"from", from}, {"norm", norm}}}};
  write(object.dump());
}

void MetricsLog::write(const std::string& line) {
  waiting_ += line + '\n';
  write_waiting();
}

void MetricsLog::write_waiting() {
  if (waiting_.empty()) return;
  const off_t end = ::lseek(descriptor_, 0, SEEK_END);
  const ssize_t put = ::write(descriptor_, waiting_.data(), waiting_.size());
  if (put == std::ssize(waiting_)) {
    waiting_.clear();
    problem_.clear();
    return;
  }
  problem_ = fmt::format("cannot write {}: {}; free some space", path_.string(),
                         std::strerror(put < 0 ? errno : ENOSPC));
  // Half a line is no use; should it stay, resuming drops it.
  [[maybe_unused]] const int cut = ::ftruncate(descriptor_, end);
}

}  // namespace cllm::train
