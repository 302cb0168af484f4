#include "cllm/mpi/probe.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "cllm/base/stopwatch.h"
#include "cllm/collectives/pace.h"
#include "cllm/collectives/tuning.h"
#include "cllm/mpi/checked.h"

namespace cllm::mpi {
namespace {

constexpr collectives::Tuning kTuning;

/// Messages that wait for each other; more where they are quicker than so many seconds.
constexpr std::size_t kFewTurns = 5, kManyTurns = 17;
constexpr double kQuick = 2e-3;
/// Messages that follow each other; and on, where one takes less than so many seconds.
constexpr std::size_t kFew = 8, kSlowMany = 32, kMany = 64;
constexpr double kQuickEach = 1e-3;

/// A rank that takes part: the first of its host.
class Probe {
 public:
  Probe(collectives::Transport& transport, const collectives::Hosts& hosts)
      : transport_(transport),
        out_(kTuning.segment_bytes),
        in_(kTuning.segment_bytes * kTuning.in_flight) {
    const std::size_t host = hosts.host_of(transport.rank()), count = hosts.count();
    to_ = hosts.ranks_of((host + 1) % count).front();
    from_ = hosts.ranks_of((host + count - 1) % count).front();
  }

  /// Sends `messages` of so many bytes to the next host and awaits as many from the one before, at
  /// most `window` at a time. Returns when each came, in seconds from any time on.
  const std::vector<double>& exchange(std::size_t messages, std::size_t bytes, std::size_t window) {
    const Stopwatch clock;
    collectives::Pace pace(kTuning.shortest_sleep_microseconds, kTuning.longest_sleep_microseconds);
    pace.restart();
    const std::span out(out_.data(), bytes);
    times_.clear();
    std::size_t sent = 0, left = 0, posted = 0;
    while (left < messages || times_.size() < messages) {
      bool moved = false;
      for (; posted < messages && posted - times_.size() < window; moved = true) {
        const std::size_t slot = posted++ % kTuning.in_flight;
        transport_.receive(slot, std::span(in_).subspan(slot * kTuning.segment_bytes, bytes),
                           from_);
      }
      for (; sent < messages && sent - std::min(left, times_.size()) < window; moved = true) {
        transport_.send(sent++ % kTuning.in_flight, out, to_);
      }
      for (; left < sent && transport_.has_sent(left % kTuning.in_flight); moved = true) ++left;
      while (times_.size() < posted && transport_.has_received(times_.size() % kTuning.in_flight)) {
        times_.push_back(clock.elapsed());
        moved = true;
      }
      if (moved) {
        pace.restart();
      } else {
        pace.rest(false);
      }
    }
    return times_;
  }

 private:
  collectives::Transport& transport_;
  std::vector<std::byte> out_, in_;
  std::vector<double> times_;
  int to_ = 0, from_ = 0;
};

/// The mean time from one message to the next in the quickest half of them. What else runs may keep
/// a rank from seeing its messages at once, and TCP begins with few bytes under way. It is a mean,
/// since ranks don't begin at the same time: of two that answer each other, one may always be seen
/// soon and the next late.
double quickest_half(const std::vector<double>& times) {
  const std::size_t half = (times.size() - 1) / 2;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i + half < times.size(); ++i) {
    least = std::min(least, times[i + half] - times[i]);
  }
  return least / static_cast<double>(half);
}

double slowest(double seconds, MPI_Comm communicator) {
  double all = 0;
  checked(MPI_Allreduce(&seconds, &all, 1, MPI_DOUBLE, MPI_MAX, communicator), "MPI_Allreduce");
  return all;
}

/// Of adding a segment to another, the least of some times.
double seconds_per_added_byte() {
  const std::size_t count = kTuning.segment_bytes / sizeof(std::uint32_t);
  std::vector<std::uint32_t> to(count), from(count, 1);
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 8; ++i) {
    const Stopwatch clock;
    for (std::size_t k = 0; k < count; ++k) to[k] += from[k];
    asm volatile("" : : "r"(to.data()) : "memory");  // keeps the loop
    least = std::min(least, clock.elapsed());
  }
  return least / static_cast<double>(kTuning.segment_bytes);
}

}  // namespace

collectives::Costs measure_costs(collectives::Transport& transport, const collectives::Hosts& hosts,
                                 MPI_Comm communicator) {
  collectives::Costs costs;
  costs.per_added_byte = slowest(seconds_per_added_byte(), communicator);
  costs.per_copied_byte = costs.per_added_byte;
  if (hosts.count() == 1) return costs;
  std::optional<Probe> probe;
  if (hosts.number_of(transport.rank()) == 0) probe.emplace(transport, hosts);
  const auto measure = [&](std::size_t messages, std::size_t bytes, std::size_t window) {
    return slowest(probe ? quickest_half(probe->exchange(messages, bytes, window)) : 0,
                   communicator);
  };
  measure(3, sizeof(float), 1);  // connects
  double& latency = costs.network.latency;
  latency = measure(kFewTurns, sizeof(float), 1);
  if (latency < kQuick) latency = measure(kManyTurns, sizeof(float), 1);
  double each = measure(kFew, kTuning.segment_bytes, kTuning.in_flight);
  if (latency >= kQuick) each = measure(kSlowMany, kTuning.segment_bytes, kTuning.in_flight);
  if (each < kQuickEach) each = measure(kMany, kTuning.segment_bytes, kTuning.in_flight);
  costs.network.per_byte = each / static_cast<double>(kTuning.segment_bytes);
  costs.per_message = measure(kMany, sizeof(float), kTuning.in_flight) / 2;
  return costs;
}

}  // namespace cllm::mpi
