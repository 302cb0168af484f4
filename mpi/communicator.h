#pragma once

#include <mpi.h>

#include <utility>

#include "cllm/mpi/checked.h"

namespace cllm::mpi {

/// An MPI communicator of our own, or none. Made by all of its ranks together; freed, by all, with
/// the object.
class Communicator {
 public:
  Communicator() = default;
  Communicator(Communicator&& other) noexcept
      : handle_(std::exchange(other.handle_, MPI_COMM_NULL)) {}
  Communicator& operator=(Communicator other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Communicator() {
    // There is nothing to do about a failure here, and nobody to tell.
    if (handle_ != MPI_COMM_NULL) MPI_Comm_free(&handle_);
  }

  static Communicator duplicate(MPI_Comm of) {
    Communicator made;
    checked(MPI_Comm_dup(of, &made.handle_), "MPI_Comm_dup");
    return made;
  }
  /// Of those ranks that give the same color, by their keys; none for MPI_UNDEFINED.
  static Communicator split(MPI_Comm of, int color, int key) {
    Communicator made;
    checked(MPI_Comm_split(of, color, key, &made.handle_), "MPI_Comm_split");
    return made;
  }
  /// Of those ranks that are on this one's host, in their order.
  static Communicator of_host(MPI_Comm of) {
    Communicator made;
    checked(MPI_Comm_split_type(of, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &made.handle_),
            "MPI_Comm_split_type");
    return made;
  }

  MPI_Comm get() const { return handle_; }
  explicit operator bool() const { return handle_ != MPI_COMM_NULL; }

  int rank() const { return rank_in(handle_); }
  int size() const { return size_of(handle_); }

  static int rank_in(MPI_Comm communicator) {
    int rank = 0;
    checked(MPI_Comm_rank(communicator, &rank), "MPI_Comm_rank");
    return rank;
  }
  static int size_of(MPI_Comm communicator) {
    int size = 0;
    checked(MPI_Comm_size(communicator, &size), "MPI_Comm_size");
    return size;
  }

 private:
  MPI_Comm handle_ = MPI_COMM_NULL;
};

}  // namespace cllm::mpi
