#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/collectives/collectives.h"
#include "cllm/collectives/cost_model.h"
#include "cllm/mpi/all_gather.h"
#include "cllm/mpi/peers.h"
#include "cllm/mpi/sums.h"
#include "cllm/ranks/process_group.h"

namespace cllm::mpi {

/// All ranks of the job (MPI_COMM_WORLD), while an Environment lives.
class World final : public ranks::ProcessGroup {
 public:
  World();

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void use(ranks::Allreduce method) override;
  void watch() override { peers_.emplace(); }
  std::uint64_t buffer_bytes() const override;
  std::string sums_text() const override { return sums_text_; }
  std::optional<ranks::Costs> costs() const override { return costs_; }
  std::size_t worthwhile_bytes() const override { return choice_ ? choice_->worthwhile_bytes : 0; }
  void all_reduce(std::span<float> values) override;
  void all_reduce(std::span<std::int32_t> values) override;
  void all_reduce(std::span<std::int64_t> values) override;
  void reduce_scatter(std::span<float> values, std::span<const ranks::Part> parts) override;
  void reduce_scatter(std::span<std::int32_t> values, std::span<const ranks::Part> parts) override;
  std::string broadcast(std::string bytes) override;
  std::vector<std::string> all_gather(const std::string& bytes) override;
  void all_gather(std::span<float> values, std::span<const ranks::Part> parts) override;
  std::unique_ptr<ranks::Courier> courier() override;
  void gather(const std::string& bytes, const Take& take) override;

 private:
  void choose();
  /// How an operation on so many bytes goes; `rounds`: it adds floats, so that bits depend on it.
  collectives::Method method(std::size_t bytes, bool rounds) const;
  template <typename T>
  void all_reduce_by_method(std::span<T> values, MPI_Datatype type);
  template <typename T>
  void reduce_scatter_by_method(std::span<T> values, std::span<const ranks::Part> parts,
                                MPI_Datatype type);

  int rank_;
  int size_;
  AllGather all_gather_;
  collectives::Method method_;
  std::optional<Sums> sums_;                   ///< none where MPI does it
  std::optional<collectives::Choice> choice_;  ///< where the method is chosen
  std::optional<ranks::Costs> costs_;          ///< by which it was
  std::string sums_text_;
  AlignedBuffer<std::byte> scattered_;  ///< what goes through MPI's reduce-scatter
  bool has_warned_ = false;
  std::optional<Peers> peers_;
};

}  // namespace cllm::mpi
