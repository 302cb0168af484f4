#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cllm/collectives/cost_model.h"
#include "cllm/collectives/simulated_sums.h"
#include "cllm/model/layout.h"
#include "cllm/plan/figures.h"
#include "cllm/plan/token_rows.h"
#include "cllm/train/trainer.h"

namespace cllm::plan {

// Note [A step on many hosts]
// A step is reckoned for one rank, since all do the same. Its threads compute for as long as the
// operations of their micro-batches take, shared out as the trainer shares them out (plan_teams);
// the groups of the layout become complete in the last round, in the order of backward. Its
// communication thread takes the buckets (buckets_of) in their order, each as soon as it is
// complete and the one before is summed: first the sum of the rows' bounds, then that of the
// integers. What is left of it when backward ends is exposed. What a sum takes is simulated, by the
// code of the sums itself (SimulatedSums). Before backward ranks sum up which tokens the batch has,
// and after it losses and sizes: these are exposed, too. Then comes the update, which reads and
// writes memory; Muon's products are computed by their owners, and a wave of them travels while the
// next is computed. With shards, sums of buckets are reduce-scatters, a rank updates its own part,
// and parameters travel, in the order in which forward needs them (GatherOrder), before the next
// step's buckets do.
//
// Left out are: that ranks are not equally fast, and wait for the slowest; that the memory of a
// host's sockets is not equally near; what else uses the network, and what its switches lack.

/// How a sum of a bucket goes, in seconds from where forward begins.
struct BucketTime {
  std::string name;  ///< "head", or "h.11 to h.9"
  double bytes = 0;
  collectives::Pattern pattern = collectives::Pattern::kRing;
  double ready = 0, begin = 0, end = 0;
};

/// Seconds of a step.
struct StepTime {
  double compute = 0;    ///< forward and backward
  double exposed = 0;    ///< that buckets are being summed after them
  double small = 0;      ///< sums of tokens, losses and sizes
  double update = 0;     ///< the optimizer, while it doesn't wait
  double gathering = 0;  ///< that the optimizer, or forward, waits for other ranks' updates
  double hidden = 0;     ///< that buckets are being summed behind backward
  double bytes = 0;      ///< that a rank sends
  std::vector<BucketTime> buckets = {};

  double seconds() const { return compute + exposed + small + update + gathering; }
  /// That computation waits for.
  double communication() const { return exposed + small + gathering; }
};

/// Which way sums go.
struct Ways {
  collectives::Choice choice = {};                  ///< of `--allreduce auto`
  std::optional<collectives::Pattern> forced = {};  ///< instead
  train::Reduce reduce = train::Reduce::kExact;

  collectives::Pattern pattern(double bytes) const;
  /// Of buckets, whose bits depend on it where they are floats.
  collectives::Pattern bucket_pattern(double bytes) const;
  std::size_t worthwhile_bytes() const;
};

/// Of Muon's matrices: what the busiest rank computes, and then all get.
struct Wave {
  double flops = 0;
  double bytes = 0;    ///< that a rank sends
  double seconds = 0;  ///< until all have it
};

/// How well that is simulated: as if each rank had as much of a wave, on one host, or as it is, on
/// all of them, which takes long where they are many.
enum class Gather { kEven, kExact };

/// The waves of a step; none where the optimizer has none.
std::vector<Wave> waves_of(const model::Layout& layout, const train::OptimizerOptions& optimizer,
                           const Ways& ways, Gather gather, collectives::SimulatedSums& sums);

/// Operations of forward and backward of a micro-batch, the mean of a batch's.
double micro_batch_flops(const model::Layout& layout, const train::TrainerOptions& options);

/// What a rank's forward and backward take, in units of what one thread takes for a micro-batch.
/// `options` are those of a rank, as everywhere here.
double relative_compute(const model::Layout& layout, const train::TrainerOptions& options,
                        std::size_t ranks);

/// Bytes that the optimizer of a rank reads and writes in a step.
double update_traffic(const model::Layout& layout);

/// Operations of the busiest rank's optimizer in a step, beside what memory takes.
double update_flops(const model::Layout& layout, const train::OptimizerOptions& optimizer,
                    std::size_t ranks);

/// A step: Note [A step on many hosts].
StepTime step_time(const model::Layout& layout, const train::TrainerOptions& options,
                   const Figures& figures, Frequencies frequencies, const Ways& ways,
                   const std::vector<Wave>& waves, collectives::SimulatedSums& sums);

}  // namespace cllm::plan
