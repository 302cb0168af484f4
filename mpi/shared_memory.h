#pragma once

#include <mpi.h>

#include <cstddef>

namespace cllm::mpi {

/// Zeroed memory that all ranks of a host see, each at an address of its own. It has no name once
/// it is made, so nothing is left of it however the ranks end.
class SharedMemory {
 public:
  /// Together with all ranks of `beside`, which are on one host. All of it is allocated at once:
  /// what is missing is missed here. Throws Error, on all of them alike.
  SharedMemory(MPI_Comm beside, std::size_t bytes);
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_;
};

}  // namespace cllm::mpi
