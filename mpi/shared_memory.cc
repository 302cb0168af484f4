#include "cllm/mpi/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <system_error>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/mpi/checked.h"
#include "cllm/mpi/communicator.h"

namespace cllm::mpi {
namespace {

/// A name in /dev/shm that nobody else has: whoever opens it has found this very memory, also where
/// ranks live in containers.
std::string unused_name(std::uint64_t token) { return fmt::format("/cllm-dist-{:016x}", token); }

/// Opens, or makes, and maps the memory. The code of the error, or 0.
int map(const std::string& name, bool makes, std::size_t bytes, std::byte*& data) {
  if (bytes > static_cast<std::size_t>(std::numeric_limits<off_t>::max())) return EFBIG;
  const int file = shm_open(name.c_str(), makes ? O_CREAT | O_EXCL | O_RDWR : O_RDWR, 0600);
  if (file < 0) return errno;
  int error = makes ? posix_fallocate(file, 0, static_cast<off_t>(bytes)) : 0;
  if (error == 0) {
    void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) {
      error = errno;
    } else {
      data = static_cast<std::byte*>(mapped);
    }
  }
  close(file);
  return error;
}

}  // namespace

SharedMemory::SharedMemory(MPI_Comm beside, std::size_t bytes) : bytes_(bytes) {
  const bool makes = Communicator::rank_in(beside) == 0;
  std::uint64_t token = 0;
  if (makes) {
    std::random_device random;
    token = std::uint64_t{random()} << 32 | random();
  }
  checked(MPI_Bcast(&token, 1, MPI_UINT64_T, 0, beside), "MPI_Bcast");
  const std::string name = unused_name(token);
  // First the one that makes it, then the others, if there is something to open.
  int mine = makes ? map(name, true, bytes_, data_) : 0, worst = 0;
  checked(MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, beside), "MPI_Allreduce");
  if (worst == 0) {
    if (!makes) mine = map(name, false, bytes_, data_);
    checked(MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, beside), "MPI_Allreduce");
  }
  if (makes) shm_unlink(name.c_str());
  if (worst == 0) return;
  if (data_ != nullptr) munmap(data_, bytes_);
  fail(
      "the ranks of host {} cannot share {:.1f} MiB of memory ({}); see that they have the same "
      "/dev/shm, with room for that",
      host_name(), static_cast<double>(bytes_) / (1 << 20), std::generic_category().message(worst));
}

SharedMemory::~SharedMemory() { munmap(data_, bytes_); }

}  // namespace cllm::mpi
