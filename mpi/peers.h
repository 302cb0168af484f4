#pragma once

#include <mpi.h>
#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cllm/mpi/communicator.h"
#include "cllm/ranks/watchdog.h"

namespace cllm::mpi {

/// The exit code of a job that its watchdog ended.
constexpr int kWatchdogExit = 76;

/// The other ranks of the job (MPI_COMM_WORLD), as a thread of this one's watches them while it
/// lives (Note [Watchdog]), inside of an Environment. It ends the job where one of them is gone,
/// and this process where its launcher is.
///
/// All ranks make and destroy it alike: the last exchange of a rank comes before its destruction,
/// which waits until all are that far. Does nothing for a rank that is alone, or where the MPI
/// library has no MPI_THREAD_MULTIPLE.
class Peers {
 public:
  Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;
  ~Peers();

 private:
  /// A rank that this one hears of, and tells.
  struct Peer {
    int rank;
    ranks::Beat in = {}, out = {};
    MPI_Request receive = MPI_REQUEST_NULL, send = MPI_REQUEST_NULL;
    bool told_leaving = false;
  };

  void watch();
  bool turn(ranks::Watchdog& watchdog, bool leaves);
  void listen(Peer& peer, ranks::Watchdog& watchdog);
  void tell(Peer& peer, const ranks::Beat& beat);
  [[noreturn]] void end_job(const std::string& why) const;

  Communicator communicator_;
  const int rank_;
  const pid_t launcher_;
  std::vector<std::string> hosts_;
  std::vector<Peer> peers_;
  std::mutex mutex_;
  std::condition_variable leaving_;
  bool leaves_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace cllm::mpi
