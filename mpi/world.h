#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/mpi/ring.h"
#include "cllm/train/collective.h"

namespace cllm::mpi {

/// All ranks of the job (MPI_COMM_WORLD), while an Environment lives.
class World final : public train::Collective {
 public:
  World();

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void use(train::Allreduce method) override;
  std::uint64_t buffer_bytes() const override { return ring_ ? ring_->bytes() : 0; }
  void sum(std::span<float> values) override;
  void sum(std::span<std::int32_t> values) override;
  void sum(std::span<std::int64_t> values) override;
  std::string broadcast(std::string bytes) override;
  std::vector<std::string> all_gather(const std::string& bytes) override;

 private:
  int rank_ = 0;
  int size_ = 1;
  std::optional<Ring> ring_;  ///< while it is what sums
};

}  // namespace cllm::mpi
