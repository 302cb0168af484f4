#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/report/curve.h"

namespace cllm::report {

/// The newest of many things, and how many there were.
template <typename T>
class Newest {
 public:
  static constexpr std::size_t kMost = 200;

  void add(T thing) {
    if (things_.size() == kMost) things_.pop_front();
    things_.push_back(std::move(thing));
    ++count_;
  }
  const std::deque<T>& all() const { return things_; }
  std::size_t count() const { return count_; }  ///< those that are gone included
  bool empty() const { return things_.empty(); }

 private:
  std::deque<T> things_;
  std::size_t count_ = 0;
};

/// A start of the program, as its line tells; what it doesn't is 0 or empty.
struct Start {
  std::uint64_t step = 0;  ///< that the run had taken
  std::int64_t time = 0;   ///< seconds since 1970
  std::uint64_t steps = 0;
  std::uint64_t ranks = 0, threads = 0, hosts = 0;
  std::vector<std::string> names;  ///< of the first hosts
  std::string job, version;
};

/// That the program stopped before the run was complete.
struct Stop {
  std::uint64_t step = 0;
  std::int64_t time = 0;
  std::string why;
};

/// What a reader should know of, beside the numbers.
struct Event {
  std::uint64_t step = 0;
  std::string kind;  ///< "spike", "rollback", "overflow", "ranks differed", "not saved", "warning"
  std::string text;
};

struct SavedLine {
  std::uint64_t step = 0;
  std::string name;
  double bytes = 0, pause = 0, write = 0;
};

struct Sample {
  std::uint64_t step = 0;
  std::string prompt, text;
};

/// Sources of validation that are told apart; further ones count in the whole alone.
inline constexpr std::size_t kMostSources = 8;

/// Starts of the program and what ended them, in the order of the file.
struct Sitting {
  std::optional<Start> start;
  std::optional<Stop> stop;
};

/// Norms of a step by groups of tensors (a layer, say): few of their numbers are kept.
struct GroupNorms {
  std::string group;
  Curve gradient, update;
};

/// Groups whose norms are kept.
inline constexpr std::size_t kMostGroups = 64;

/// What metrics.jsonl tells of a run, in bounded memory: curves have at most `buckets` buckets,
/// those of groups a tenth of that, lists the newest 200, texts 2,000 bytes. Lines may be of any
/// version, or not ours: what can't be understood is passed over. Not thread-safe.
class Metrics {
 public:
  explicit Metrics(std::size_t buckets = Curve::kBuckets);

  void read(std::string_view line);

  Curve loss, validation, rate, norm, speed;                   ///< speed in tokens/s
  Curve compute, communication, hidden_communication, update;  ///< seconds of a step
  std::map<std::string, Curve> sources;                        ///< validation of several texts
  std::vector<GroupNorms> groups;                              ///< in the order of the lines
  Newest<Sitting> sittings;
  Newest<Event> events;
  Newest<SavedLine> saved;
  Newest<Sample> samples;
  Place at;                     ///< after the newest step
  bool has_node_hours = false;  ///< hosts are known of all steps
  double evaluation_seconds = 0;
  std::uint64_t not_finite = 0;  ///< steps without a loss that is a number
  std::uint64_t lines = 0;       ///< that were understood
  double longest_wait = 0;       ///< seconds of the longest step or evaluation

  /// Of the newest steps; 0 where there is none.
  double recent_loss() const;
  double recent_step_seconds() const;

 private:
  void read_step(const nlohmann::ordered_json& line, std::uint64_t step);
  void read_norms(const nlohmann::ordered_json& norms);
  void read_evaluation(const nlohmann::ordered_json& line, std::uint64_t step);
  void read_events(const nlohmann::ordered_json& line, std::uint64_t step);
  void read_start(const nlohmann::ordered_json& start, std::uint64_t step);
  void pass(double seconds);

  std::size_t buckets_;
  struct Recent {
    double loss, seconds;
  };
  std::deque<Recent> recent_;
  double hosts_ = 0;  // of the newest start
  bool lacks_hosts_ = false;
};

}  // namespace cllm::report
