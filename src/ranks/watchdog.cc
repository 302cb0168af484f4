#include "cllm/ranks/watchdog.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace cllm::ranks {
namespace {

/// Seconds that a look counts for at most.
constexpr double kLongestLook = 2;

/// Seconds after rank 1 until others speak, so that it is said once where rank 1 can.
constexpr double kSecondVoice = 3;

/// Limits until a standstill is one: large messages on slow links look like it.
constexpr double kStandstill = 5;

}  // namespace

Watchdog::Watchdog(int rank, std::vector<std::string> hosts) : rank_(rank) {
  for (std::string& host : hosts) ranks_.push_back({.host = std::move(host)});
}

void Watchdog::heard(int rank, const Beat& beat) {
  update(ranks_[static_cast<std::size_t>(rank)], beat);
}

void Watchdog::update(Rank& rank, const Beat& beat) {
  rank.heard = now_;
  if (beat.progress != rank.beat.progress) rank.progressed = now_;
  if (beat.leaves != rank.beat.leaves) last_left_ = now_;
  rank.beat = beat;
}

bool Watchdog::all_left() const {
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (watches(static_cast<int>(i)) && ranks_[i].beat.leaves == 0) return false;
  }
  return true;
}

std::optional<std::string> Watchdog::look(double seconds, const Beat& mine, Patience patience) {
  now_ += std::min(seconds - last_look_.value_or(seconds), kLongestLook);
  last_look_ = seconds;
  const std::uint64_t step = ranks_[me()].beat.step;
  if (mine.step != step) {
    if (step > 0) longest_step_ = std::max(longest_step_, now_ - step_began_);
    step_began_ = now_;
  }
  update(ranks_[me()], mine);
  limit_ = std::max(patience.seconds, patience.steps * longest_step_);
  const std::optional<std::string> fault = silence();
  return fault ? fault : standstill();
}

std::optional<std::string> Watchdog::silence() const {
  const double limit = limit_ + (rank_ > 1 ? kSecondVoice : 0);
  const auto is_silent = [&](const Rank& rank) {
    return watches(static_cast<int>(&rank - ranks_.data())) && rank.beat.leaves == 0 &&
           now_ - rank.heard > limit;
  };
  const auto first = std::ranges::find_if(ranks_, is_silent);
  if (first == ranks_.end()) return std::nullopt;
  const auto others = std::ranges::count_if(first + 1, ranks_.end(), is_silent);
  return fmt::format(
      "{}, {}: nothing was heard of {}{} for {:.0f} s, and last that it was {}; it is stopped or "
      "dead, or its network is down; look at that host, and start again with --resume",
      name(me()), ranks_[me()].beat.text(), name(static_cast<std::size_t>(first - ranks_.begin())),
      others == 0 ? "" : fmt::format(" and {} more", others), now_ - first->heard,
      first->beat.text());
}

std::optional<std::string> Watchdog::standstill() const {
  if (rank_ != 0 || ranks_.size() < 2) return std::nullopt;
  const auto has_left = [](const Rank& rank) { return rank.beat.leaves != 0; };
  const auto left = std::ranges::find_if(ranks_, has_left);
  // A rank that left won't come, however slow the network is.
  const double limit = left == ranks_.end() ? kStandstill * limit_ : limit_;
  // What ended long work may just have reached the one that left, and be on its way to others.
  const auto stands = [&](const Rank& rank) {
    return rank.beat.waits != 0 && now_ - std::max(rank.progressed, last_left_) > limit;
  };
  const auto waiting = std::ranges::find_if(ranks_, std::not_fn(has_left));
  if (waiting == ranks_.end()) return std::nullopt;
  if (!std::all_of(ranks_.begin(), ranks_.end(),
                   [&](const Rank& rank) { return has_left(rank) || stands(rank); })) {
    return std::nullopt;
  }
  if (left != ranks_.end()) {
    return fmt::format(
        "{} has left, and {} has been {} for {:.0f} s, which only goes on with all ranks; this is "
        "an error in the program: please report it, and start again with --resume",
        name(static_cast<std::size_t>(left - ranks_.begin())),
        name(static_cast<std::size_t>(waiting - ranks_.begin())), waiting->beat.text(),
        now_ - waiting->progressed);
  }
  const auto other = std::ranges::find_if(
      ranks_, [&](const Rank& rank) { return rank.beat.text() != ranks_[0].beat.text(); });
  return fmt::format(
      "{}, {}: all ranks wait for each other and no data moved for {:.0f} s{}; see that every host "
      "reaches every other (cllm-dist doctor), and start again with --resume",
      name(0), ranks_[0].beat.text(), now_ - ranks_[0].progressed,
      other == ranks_.end()
          ? ""
          : fmt::format(", {} {}", name(static_cast<std::size_t>(other - ranks_.begin())),
                        other->beat.text()));
}

std::optional<std::string> Watchdog::note() {
  const Rank& mine = ranks_[me()];
  if (rank_ != 0 || mine.beat.waits == 0 || mine.beat.progress == noted_ ||
      now_ - mine.progressed <= limit_) {
    return std::nullopt;
  }
  const auto busy = std::ranges::find_if(ranks_, [](const Rank& rank) { return !rank.beat.waits; });
  if (busy == ranks_.end()) return std::nullopt;
  noted_ = mine.beat.progress;
  return fmt::format("note    {} s {}: {} is {}", static_cast<int>(now_ - mine.progressed),
                     mine.beat.text(), name(static_cast<std::size_t>(busy - ranks_.begin())),
                     busy->beat.text());
}

std::string Watchdog::name(std::size_t rank) const {
  return fmt::format("rank {} (host {})", rank, ranks_[rank].host);
}

}  // namespace cllm::ranks
