#include "cllm/mpi/peers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>

#include "cllm/base/output.h"
#include "cllm/base/processors.h"
#include "cllm/mpi/checked.h"
#include "cllm/mpi/environment.h"

namespace cllm::mpi {
namespace {

constexpr int kTag = 0;
constexpr std::chrono::milliseconds kBetweenTurns{1000};
constexpr std::chrono::milliseconds kBetweenLastTurns{2};

/// What can be done in so many seconds to end a job in good order.
constexpr unsigned kSecondsToEnd = 10;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::string> hosts_of_all(MPI_Comm communicator, int size) {
  using Name = std::array<char, 256>;
  Name mine{};
  std::strncpy(mine.data(), host_name().c_str(), mine.size() - 1);
  std::vector<Name> all(static_cast<std::size_t>(size));
  checked(MPI_Allgather(mine.data(), static_cast<int>(mine.size()), MPI_CHAR, all.data(),
                        static_cast<int>(mine.size()), MPI_CHAR, communicator),
          "MPI_Allgather");
  std::vector<std::string> hosts;
  for (const Name& name : all) hosts.emplace_back(name.data());
  return hosts;
}

}  // namespace

Peers::Peers() : rank_(Communicator::rank_in(MPI_COMM_WORLD)), launcher_(::getppid()) {
  const int size = Communicator::size_of(MPI_COMM_WORLD);
  int threads = MPI_THREAD_SINGLE;
  checked(MPI_Query_thread(&threads), "MPI_Query_thread");
  if (size == 1 || threads < MPI_THREAD_MULTIPLE) return;
  communicator_ = Communicator::duplicate(MPI_COMM_WORLD);
  hosts_ = hosts_of_all(communicator_.get(), size);
  const ranks::Watchdog whom(rank_, hosts_);
  for (int rank = 0; rank < size; ++rank) {
    if (whom.watches(rank)) peers_.push_back({.rank = rank});
  }
  thread_ = std::thread([this] { watch(); });
}

Peers::~Peers() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    leaves_ = true;
  }
  leaving_.notify_all();
  thread_.join();
}

void Peers::watch() {
  try {
    ranks::Watchdog watchdog(rank_, hosts_);
    for (Peer& peer : peers_) {
      checked(MPI_Irecv(&peer.in, sizeof(peer.in), MPI_BYTE, peer.rank, kTag, communicator_.get(),
                        &peer.receive),
              "MPI_Irecv");
    }
    bool leaves = false;
    while (!turn(watchdog, leaves)) {
      if (leaves) {
        std::this_thread::sleep_for(kBetweenLastTurns);
        continue;
      }
      std::unique_lock lock(mutex_);
      leaves = leaving_.wait_for(lock, kBetweenTurns, [&] { return leaves_; });
    }
  } catch (const std::exception& error) {
    end_job(fmt::format("rank {} (host {}): {}", rank_, host_name(), error.what()));
  }
}

/// Hears and tells what there is. Returns whether no rank has anything more to say.
bool Peers::turn(ranks::Watchdog& watchdog, bool leaves) {
  ranks::Beat mine = ranks::heartbeat().beat();
  mine.leaves = leaves;
  bool all_told = leaves;
  for (Peer& peer : peers_) {
    listen(peer, watchdog);
    tell(peer, mine);
    all_told = all_told && peer.told_leaving && peer.send == MPI_REQUEST_NULL;
  }
  if (all_told && watchdog.all_left()) return true;

  if (::getppid() != launcher_) {
    end_job(
        fmt::format("rank {} (host {}): its launcher, process {}, is gone, so it ends too; "
                    "start again with --resume",
                    rank_, host_name(), launcher_));
  }
  if (const auto fault = watchdog.look(seconds_now(), mine, ranks::heartbeat().patience())) {
    end_job(*fault);
  }
  if (const auto note = watchdog.note()) put(stderr, *note + "\n");
  return false;
}

void Peers::listen(Peer& peer, ranks::Watchdog& watchdog) {
  while (peer.receive != MPI_REQUEST_NULL && has_ended(peer.receive)) {
    watchdog.heard(peer.rank, peer.in);
    if (peer.in.leaves != 0) return;  // it was the last
    checked(MPI_Irecv(&peer.in, sizeof(peer.in), MPI_BYTE, peer.rank, kTag, communicator_.get(),
                      &peer.receive),
            "MPI_Irecv");
  }
}

/// Where the last that was told is still on its way, it is enough.
void Peers::tell(Peer& peer, const ranks::Beat& beat) {
  if (!has_ended(peer.send) || peer.told_leaving) return;
  peer.out = beat;
  peer.told_leaving = beat.leaves != 0;
  checked(MPI_Isend(&peer.out, sizeof(peer.out), MPI_BYTE, peer.rank, kTag, communicator_.get(),
                    &peer.send),
          "MPI_Isend");
}

void Peers::end_job(const std::string& why) const {
  end_within(kSecondsToEnd, kWatchdogExit);
  put(stderr, "cllm-dist: " + why + "\n");
  abort(kWatchdogExit);
}

}  // namespace cllm::mpi
