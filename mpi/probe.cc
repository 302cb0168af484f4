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

/// Messages to the next host at once, each of so many bytes, first a few and then, where these were
/// quick, many.
constexpr int kFew = 4, kMany = 64;
constexpr double kQuick = 5e-3;
constexpr int kShifts = 8;

/// A rank that takes part: the first of its host.
class Probe {
 public:
  Probe(Transport& transport, const collectives::Hosts& hosts)
      : transport_(transport), out_(kTuning.segment_bytes), in_(kTuning.segment_bytes) {
    const std::size_t host = hosts.host_of(transport.rank()), count = hosts.count();
    to_ = hosts.ranks_of((host + 1) % count).front();
    from_ = hosts.ranks_of((host + count - 1) % count).front();
  }

  /// Seconds until `messages` of so many bytes have left to the next host and come from the one
  /// before.
  double shift(int messages, std::size_t bytes) {
    const Stopwatch clock;
    collectives::Pace pace(kTuning.shortest_sleep_microseconds, kTuning.longest_sleep_microseconds);
    pace.restart();
    const std::span out(out_.data(), bytes);
    int sent = 0, left = 0, posted = 0, arrived = 0;
    const auto window = static_cast<int>(kTuning.in_flight);
    const auto slot = [&](int number) { return static_cast<std::size_t>(number % window); };
    while (left < messages || arrived < messages) {
      bool moved = false;
      while (posted < messages && posted - arrived < window) {
        const std::size_t s = slot(posted++);
        transport_.receive(s, std::span(in_).subspan(s * kTuning.segment_bytes, bytes), from_);
        moved = true;
      }
      while (sent < messages && sent - left < window) {
        transport_.send(slot(sent++), out, to_);
        moved = true;
      }
      while (left < sent && transport_.has_sent(slot(left))) ++left, moved = true;
      while (arrived < posted && transport_.has_received(slot(arrived))) ++arrived, moved = true;
      if (!moved) pace.rest(false);
    }
    return clock.elapsed();
  }

 private:
  Transport& transport_;
  std::vector<std::byte> out_, in_;
  int to_ = 0, from_ = 0;
};

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

collectives::Costs measure_costs(Sums& sums, MPI_Comm communicator) {
  const collectives::Hosts& hosts = sums->hosts();
  const int rank = sums.transport().rank();
  collectives::Costs costs;
  costs.per_added_byte = slowest(seconds_per_added_byte(), communicator);
  costs.per_copied_byte = costs.per_added_byte;
  if (hosts.count() == 1) return costs;
  std::optional<Probe> probe;
  if (hosts.number_of(rank) == 0) probe.emplace(sums.transport(), hosts);
  const auto shift = [&](int messages, std::size_t bytes) {
    return slowest(probe ? probe->shift(messages, bytes) : 0, communicator);
  };
  shift(1, sizeof(float));  // connects
  double latency = shift(1, sizeof(float));
  for (int i = 0; i < kShifts && latency < kQuick; ++i) {
    latency = std::min(latency, shift(1, sizeof(float)));
  }
  costs.network.latency = latency;
  costs.per_message = std::max(shift(kMany, sizeof(float)) - latency, 0.0) / (2 * kMany);
  int messages = kFew;
  double seconds = shift(messages, kTuning.segment_bytes);
  if (seconds < latency + kQuick) {
    messages = kMany;
    seconds = shift(messages, kTuning.segment_bytes);
  }
  costs.network.per_byte =
      std::max(seconds - latency, 0.0) /
      (static_cast<double>(messages) * static_cast<double>(kTuning.segment_bytes));
  return costs;
}

}  // namespace cllm::mpi
