#include "cllm/report/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cllm/base/utf8.h"

namespace cllm::report {
namespace {

/// Layers are to stay in their order.
using json = nlohmann::ordered_json;

/// Steps that count as the newest.
constexpr std::size_t kRecent = 50;

/// Bytes of a text that are kept.
constexpr std::size_t kLongestText = 2000;

/// Names of hosts that are kept.
constexpr std::size_t kMostNames = 16;

std::optional<double> number(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::uint64_t count(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::int64_t time_in(const json& object) {
  const auto found = object.find("time");
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

/// A text, or what else stands there as JSON; without what is too long of it.
std::string text(const json& value) {
  std::string all = value.is_string() ? value.get<std::string>() : value.dump();
  if (all.size() > kLongestText) {
    all.resize(utf8_boundary(all, kLongestText));
    all += "…";
  }
  return all;
}

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? std::string() : text(*found);
}

/// An object in an object; an empty one where there is none.
const json& part(const json& object, const char* key) {
  static const json none = json::object();
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : none;
}

std::string rollback_text(const json& rollback) {
  const double norm = number(rollback, "norm").value_or(std::nan(""));
  return fmt::format("back from step {} to step {}, with a gradient norm of {:.4g}",
                     count(rollback, "from"), count(rollback, "to"), norm);
}

std::string list_text(const json& list) {
  if (!list.is_array()) return text(list);
  constexpr std::size_t kMost = 4;
  std::string all;
  for (std::size_t i = 0; i < std::min(kMost, list.size()); ++i) {
    all += (i == 0 ? "" : ", ") + text(list[i]);
  }
  if (list.size() > kMost) all += fmt::format(" and {} more", list.size() - kMost);
  return all;
}

std::string spike_text(const std::string& what) {
  if (what == "clipped") return "gradient far above the recent ones, and scaled down";
  if (what == "skipped") return "step skipped: its gradient could not be used";
  return what;
}

}  // namespace

Metrics::Metrics(std::size_t buckets)
    : loss(buckets),
      validation(buckets),
      rate(buckets),
      norm(buckets),
      speed(buckets),
      compute(buckets),
      communication(buckets),
      hidden_communication(buckets),
      update(buckets),
      buckets_(buckets) {}

void Metrics::read(std::string_view line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) return;
  const auto found = object.find("step");
  if (found == object.end() || !found->is_number_unsigned()) return;
  const auto step = found->get<std::uint64_t>();
  ++lines;
  if (object.contains("loss")) read_step(object, step);
  if (object.contains("val_loss")) read_evaluation(object, step);
  if (const json& start = part(object, "start"); !start.empty()) read_start(start, step);
  if (const json& stop = part(object, "stop"); !stop.empty()) {
    sittings.add({std::nullopt, Stop{step, time_in(stop), text(stop, "why")}});
  }
  if (const json& sample = part(object, "sample"); !sample.empty()) {
    samples.add({step, text(sample, "prompt"), text(sample, "text")});
  }
  read_events(object, step);
}

void Metrics::read_step(const json& line, std::uint64_t step) {
  const json& seconds = part(line, "seconds");
  const double computing = number(seconds, "compute").value_or(0);
  const double waiting = number(seconds, "communication").value_or(0);
  const double updating = number(seconds, "update").value_or(0);
  const double whole = computing + waiting + updating;
  at.step = step;
  at.tokens = number(line, "tokens").value_or(at.tokens);
  pass(whole);
  const auto add = [&](Curve& curve, const json& object, const char* key) {
    if (const auto value = number(object, key)) curve.add(at, *value);
  };
  add(loss, line, "loss");
  add(rate, line, "lr");
  add(norm, line, "grad_norm");
  add(speed, line, "tokens_per_s");
  add(compute, seconds, "compute");
  add(communication, seconds, "communication");
  add(hidden_communication, seconds, "hidden_communication");
  add(update, seconds, "update");
  read_norms(part(line, "norms"));
  const auto value = number(line, "loss");
  if (!value) {
    ++not_finite;
    return;
  }
  recent_.push_back({*value, whole});
  if (recent_.size() > kRecent) recent_.pop_front();
}

void Metrics::read_norms(const json& norms) {
  const json& updates = part(norms, "update");
  for (const auto& [group, value] : part(norms, "gradient").items()) {
    const std::string name = text(json(group));
    auto found = std::ranges::find(groups, name, &GroupNorms::group);
    if (found == groups.end()) {
      if (groups.size() == kMostGroups) continue;
      const std::size_t buckets = std::max<std::size_t>(1, buckets_ / 10);
      groups.push_back({name, Curve(buckets), Curve(buckets)});
      found = groups.end() - 1;
    }
    if (value.is_number()) found->gradient.add(at, value.get<double>());
    if (const auto size = number(updates, group.c_str())) found->update.add(at, *size);
  }
}

void Metrics::read_evaluation(const json& line, std::uint64_t step) {
  at.step = std::max(at.step, step);
  const double seconds = number(part(line, "seconds"), "evaluation").value_or(0);
  evaluation_seconds += std::max(0.0, seconds);
  pass(seconds);
  Place place = at;
  place.step = step;
  if (const auto value = number(line, "val_loss")) validation.add(place, *value);
  const auto found = line.find("sources");
  if (found == line.end() || !found->is_array()) return;
  for (const json& source : *found) {
    if (!source.is_object()) continue;
    const std::string name = text(source, "data");
    if (!sources.contains(name) && sources.size() == kMostSources) continue;
    const auto value = number(source, "val_loss");
    if (value) sources.try_emplace(name, buckets_).first->second.add(place, *value);
  }
}

void Metrics::read_events(const json& line, std::uint64_t step) {
  if (line.contains("spike")) events.add({step, "spike", spike_text(text(line, "spike"))});
  if (const auto found = line.find("overflowed"); found != line.end()) {
    events.add({step, "overflow", "taken again with a wider range: " + list_text(*found)});
  }
  if (line.contains("replicas")) events.add({step, "ranks differed", text(line, "replicas")});
  if (const json& rollback = part(line, "rollback"); !rollback.empty()) {
    events.add({step, "rollback", rollback_text(rollback)});
  }
  if (!line.contains("checkpoint")) {
    if (line.contains("warning")) events.add({step, "warning", text(line, "warning")});
    return;
  }
  const json& seconds = part(line, "seconds");
  if (line.contains("problem")) {
    events.add({step, "not saved", text(line, "problem")});
    return;
  }
  if (line.contains("warning")) events.add({step, "warning", text(line, "warning")});
  saved.add({step, text(line, "checkpoint"), number(line, "bytes").value_or(0),
             number(seconds, "pause").value_or(0), number(seconds, "write").value_or(0)});
}

void Metrics::read_start(const json& start, std::uint64_t step) {
  Start told{.step = step,
             .time = time_in(start),
             .steps = count(start, "steps"),
             .ranks = count(start, "ranks"),
             .threads = count(start, "threads"),
             .hosts = count(start, "hosts"),
             .names = {},
             .job = text(start, "job"),
             .version = text(start, "version")};
  if (const auto names = start.find("names"); names != start.end() && names->is_array()) {
    for (const json& name : *names) {
      if (told.names.size() < kMostNames) told.names.push_back(text(name));
    }
  }
  hosts_ = static_cast<double>(told.hosts);
  sittings.add({std::move(told), std::nullopt});
}

/// What the newest step or evaluation took.
void Metrics::pass(double seconds) {
  if (!(seconds > 0)) return;
  longest_wait = std::max(longest_wait, seconds);
  at.seconds += seconds;
  at.node_hours += hosts_ * seconds / 3600;
  if (hosts_ <= 0) lacks_hosts_ = true;
  has_node_hours = !lacks_hosts_;
}

double Metrics::recent_loss() const {
  double sum = 0;
  for (const Recent& each : recent_) sum += each.loss;
  return recent_.empty() ? 0 : sum / static_cast<double>(recent_.size());
}

double Metrics::recent_step_seconds() const {
  double sum = 0;
  for (const Recent& each : recent_) sum += each.seconds;
  return recent_.empty() ? 0 : sum / static_cast<double>(recent_.size());
}

}  // namespace cllm::report
