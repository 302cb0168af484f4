#pragma once

#include <fmt/format.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace cllm::bench {

/// One of several ways to do the same work.
struct Contender {
  std::string name;
  double items;  ///< that one run of it does
  std::function<void()> work = [] {};
  std::function<void()> before = [] {};  ///< each run, not timed
};

/// Seconds that this thread has run: not those in which others had its processor.
inline double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// The median nanoseconds per item of each contender, on this thread. They run in turns, so that
/// what else a machine does meets them alike.
inline std::vector<double> interleaved_medians(std::span<const Contender> contenders, int rounds) {
  std::vector<std::vector<double>> times(contenders.size());
  for (int round = 0; round <= rounds; ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      contenders[i].before();
      const double start = thread_seconds();
      contenders[i].work();
      // The first round warms up.
      if (round > 0) times[i].push_back(1e9 * (thread_seconds() - start) / contenders[i].items);
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& each : times) {
    const auto middle = each.begin() + static_cast<std::ptrdiff_t>(each.size() / 2);
    std::nth_element(each.begin(), middle, each.end());
    medians.push_back(*middle);
  }
  return medians;
}

/// Prints the machine's load, against which figures are to be judged.
inline void print_load() {
  double load = 0;
  if (::getloadavg(&load, 1) == 1) fmt::print("load {:.1f}\n", load);
}

}  // namespace cllm::bench
