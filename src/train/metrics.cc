#include "cllm/train/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <utility>

#include "cllm/base/file.h"

namespace cllm::train {
namespace {

/// So many names of hosts stand in a line; the others are counted.
constexpr std::size_t kMostNames = 16;

/// The whole lines of `text` that are of steps up to `last_step`, of starts and stops, and, where
/// they are to stay, of going back to it. A last line that was cut off goes.
std::string lines_up_to(const std::string& text, std::uint64_t last_step, bool with_rollbacks) {
  std::string kept;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    const auto step = object.find("step");
    if (step == object.end() || !step->is_number_unsigned()) continue;
    const bool stays = object.contains("start") || object.contains("stop") ||
                       (with_rollbacks && object.contains("rollback") && *step == last_step + 1);
    if (*step <= last_step || stays) kept += line + '\n';
  }
  return kept;
}

/// The file, without the lines that `lines_up_to` leaves out.
AppendedFile opened(const std::filesystem::path& path, std::uint64_t last_step,
                    bool with_rollbacks) {
  if (std::filesystem::exists(path)) {
    const std::string text = read_file(path);
    const std::string kept = lines_up_to(text, last_step, with_rollbacks);
    if (kept != text) write_atomically(path, std::as_bytes(std::span(kept)));
  }
  return AppendedFile(path);
}

/// Where numbers of a line go; those of "seconds" are under seconds/.
constexpr std::pair<const char*, const char*> kTags[] = {{"loss", "loss/train"},
                                                         {"val_loss", "loss/validation"},
                                                         {"lr", "rate/learning"},
                                                         {"grad_norm", "norm/gradient"},
                                                         {"tokens_per_s", "speed/tokens_per_s"},
                                                         {"tokens", "progress/tokens"},
                                                         {"targets", "progress/targets"},
                                                         {"bytes", "checkpoint/bytes"}};

/// A text as Markdown that shows it as it is.
std::string quoted(const std::string& text) {
  std::string lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines += "    " + line + '\n';
  return lines;
}

nlohmann::ordered_json by_group(const std::vector<std::string>& names,
                                std::span<const double> norms) {
  nlohmann::ordered_json object;
  for (std::size_t i = 0; i < names.size(); ++i) object[names[i]] = norms[i];
  return object;
}

}  // namespace

std::vector<io::Scalar> scalars_of(const nlohmann::ordered_json& line) {
  std::vector<io::Scalar> scalars;
  for (const auto& [key, tag] : kTags) {
    // An evaluation says again how many tokens its step had seen.
    if (line.contains("val_loss") && std::string_view(key) == "tokens") continue;
    if (const auto found = line.find(key); found != line.end()) {
      scalars.push_back({tag, found->get<double>()});
    }
  }
  const std::string seconds = line.contains("checkpoint") ? "checkpoint/seconds_" : "seconds/";
  if (line.contains("seconds")) {
    for (const auto& [phase, time] : line["seconds"].items()) {
      scalars.push_back({seconds + phase, time.get<double>()});
    }
  }
  if (line.contains("sources")) {
    for (const auto& source : line["sources"]) {
      scalars.push_back({"loss/validation/" + source["data"].get<std::string>(),
                         source["val_loss"].get<double>()});
    }
  }
  if (line.contains("norms")) {
    for (const auto& [of, groups] : line["norms"].items()) {
      for (const auto& [group, norm] : groups.items()) {
        scalars.push_back({fmt::format("norm/{}/{}", of, group), norm.get<double>()});
      }
    }
  }
  return scalars;
}

MetricsLog::MetricsLog(const std::filesystem::path& path, std::uint64_t last_step,
                       io::EventFile* events)
    : path_(path), file_(opened(path, last_step, false)), events_(events) {}

void MetricsLog::go_back(std::uint64_t last_step) {
  const std::string waiting = lines_up_to(file_.waiting(), last_step, true);
  file_ = opened(path_, last_step, true);
  file_.append(waiting);
  if (events_ != nullptr) events_->go_back(last_step + 1);
}

void MetricsLog::start(std::uint64_t state_step, const RunStart& start) {
  const std::size_t named = std::min(start.hosts.size(), kMostNames);
  nlohmann::ordered_json facts = {
      {"time", start.time},
      {"version", start.version},
      {"steps", start.steps},
      {"ranks", start.ranks},
      {"threads", start.threads},
      {"hosts", start.hosts.size()},
      {"names",
       std::vector(start.hosts.begin(), start.hosts.begin() + static_cast<std::ptrdiff_t>(named))}};
  if (!start.job.empty()) facts["job"] = start.job;
  write({{"step", state_step}, {"start", std::move(facts)}});
}

void MetricsLog::stop(std::uint64_t state_step, std::int64_t time, const std::string& why) {
  const nlohmann::ordered_json facts = {{"time", time}, {"why", why}};
  write({{"step", state_step}, {"stop", facts}});
}

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
  if (r.norms != nullptr) {
    object["norms"] = {{"gradient", by_group(r.norms->names(), r.norms->gradient())},
                       {"update", by_group(r.norms->names(), r.norms->update())}};
  }
  if (!r.overflowed.empty()) object["overflowed"] = r.overflowed;
  if (r.outcome == Outcome::kClipped) object["spike"] = "clipped";
  if (r.outcome == Outcome::kSkipped) object["spike"] = "skipped";
  write(object);
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
  write(object);
}

void MetricsLog::sample(std::uint64_t state_step, const TextSample& sample) {
  write({{"step", state_step},
         {"sample", {{"prompt", sample.prompt}, {"text", sample.text}}},
         {"seconds", {{"sample", sample.seconds}}}});
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
  write(object);
}

void MetricsLog::replicas(std::uint64_t state_step, const std::string& found) {
  write({{"step", state_step}, {"replicas", found}});
}

void MetricsLog::rollback(std::uint64_t state_step, std::uint64_t from, double norm) {
  // Of the next step: a run that resumes here goes through all of it again.
  const nlohmann::ordered_json object = {
      {"step", state_step + 1}, {"rollback", {{"to", state_step}, {"from", from}, {"norm", norm}}}};
  write(object);
}

void MetricsLog::write(const nlohmann::ordered_json& object) {
  file_.append(object.dump() + '\n');
  if (events_ == nullptr) return;
  const std::uint64_t step = object["step"].get<std::uint64_t>();
  events_->scalars(step, scalars_of(object));
  if (const auto sample = object.find("sample"); sample != object.end()) {
    const auto part = [&](const char* key) { return sample->at(key).get<std::string>(); };
    events_->text(step, "sample", quoted(part("prompt") + part("text")));
  }
  for (const char* event : {"spike", "overflowed", "replicas", "rollback", "problem", "warning"}) {
    if (const auto found = object.find(event); found != object.end()) {
      events_->text(step, std::string("events/") + event, found->dump());
    }
  }
}

void MetricsLog::write_waiting() {
  file_.write_waiting();
  if (events_ != nullptr) events_->write_waiting();
}

}  // namespace cllm::train
