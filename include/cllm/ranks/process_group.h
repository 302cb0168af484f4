#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/ranks/costs.h"
#include "cllm/ranks/courier.h"

namespace cllm::ranks {

/// How the gradients of the ranks are summed. All but kMpi sleep while they wait, and leave the
/// processors to others.
enum class Allreduce {
  kMpi,      ///< MPI_Allreduce: blocks, and keeps a processor busy while it waits
  kRing,     ///< in shared memory on each host, and in segmented rings between hosts
  kHalving,  ///< the same, and between hosts by recursive halving and doubling
  kFlat,     ///< a ring over all ranks, wherever they are
  kAuto,     ///< kRing, or kHalving for short arrays where that takes less, by what messages cost;
             ///< sums of floats, whose bits depend on it, are kRing always
};

/// The kinds by the names that users give them, but for kAuto, which is one or the other.
struct AllreduceName {
  std::string_view name;
  Allreduce method;
};
inline constexpr std::array kAllreduceNames = {
    AllreduceName{"mpi", Allreduce::kMpi}, AllreduceName{"ring", Allreduce::kRing},
    AllreduceName{"halving", Allreduce::kHalving}, AllreduceName{"flat", Allreduce::kFlat}};

/// A contiguous part of an array, in elements.
struct Part {
  std::size_t offset = 0, size = 0;
};

/// What training needs of the other ranks. All ranks call the same functions in the same order.
/// One thread at a time, but not always the same one: whoever calls next must have seen the call
/// before it return. Throws Error when communication fails; what was being summed is then
/// undefined, and must stay alive until the job has been aborted.
class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Of all ranks together, as sums are. How sums of float and int32, and halves of them, go from
  /// now on; without it, by kMpi. May allocate, so that they need not. Where a host's ranks can't
  /// share memory, rank 0 warns of it, and ranks go as if each had a host of its own.
  virtual void use(Allreduce method) = 0;

  /// Of all ranks together: from now on they watch each other, and a rank that is gone ends the job
  /// (Note [Watchdog]).
  virtual void watch() {}

  /// Bytes that it has allocated for messages.
  virtual std::uint64_t buffer_bytes() const { return 0; }

  /// How sums go, for people, where that was chosen by measuring; else empty.
  virtual std::string sums_text() const { return {}; }
  /// What messages and additions cost, where that was measured.
  virtual std::optional<Costs> costs() const { return {}; }
  /// Bytes that a sum should have for latency to be a small part of it, by what was measured; 0
  /// where nothing was.
  virtual std::size_t worthwhile_bytes() const { return 0; }

  /// In place: the sum over all ranks, the same bits on each. Integers wrap modulo their size.
  virtual void all_reduce(std::span<float> values) = 0;
  virtual void all_reduce(std::span<std::int32_t> values) = 0;
  virtual void all_reduce(std::span<std::int64_t> values) = 0;
  /// In place, the first half of such a sum: `parts` has a part of `values` for each rank, which
  /// don't overlap, may be empty and of unlike sizes, and are the same on all ranks; each rank gets
  /// the sum of its own. What the other elements are after it is undefined.
  virtual void reduce_scatter(std::span<float> values, std::span<const Part> parts);
  virtual void reduce_scatter(std::span<std::int32_t> values, std::span<const Part> parts);
  /// Rank 0's bytes.
  virtual std::string broadcast(std::string bytes) = 0;
  /// Every rank's bytes, in the order of ranks. For what is short: all ranks hold all of it.
  virtual std::vector<std::string> all_gather(const std::string& bytes) = 0;
  /// In place, for what is long, the second half: each rank has written its own part, and gets the
  /// others'.
  virtual void all_gather(std::span<float> values, std::span<const Part> parts) = 0;
  /// Of all ranks together: a way for messages beside all this; null for a rank that is alone.
  virtual std::unique_ptr<Courier> courier() { return nullptr; }
  /// Gives rank 0 every rank's bytes, of any number, in the order of ranks: take(rank, piece) for
  /// pieces of bounded size, which it must not keep. What it throws goes on once all is taken.
  using Take = std::function<void(int rank, std::string_view piece)>;
  virtual void gather(const std::string& bytes, const Take& take);
};

/// One rank: nothing to combine.
class SingleProcess final : public ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void use(Allreduce) override {}
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<std::int32_t>) override {}
  void all_reduce(std::span<std::int64_t>) override {}
  std::string broadcast(std::string bytes) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override { return {bytes}; }
  void all_gather(std::span<float>, std::span<const Part>) override {}
};

/// Gives rank 0's values to all, in pieces of bounded size.
void broadcast(ProcessGroup& process_group, std::span<float> values);

}  // namespace cllm::ranks
