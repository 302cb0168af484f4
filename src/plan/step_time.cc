#include "cllm/plan/step_time.h"

#include <algorithm>
#include <span>

#include "cllm/model/flops.h"
#include "cllm/model/gradient.h"
#include "cllm/train/gradient_accumulator.h"
#include "cllm/train/integer_sums.h"
#include "cllm/train/loss_sum.h"
#include "cllm/train/matrix_deal.h"
#include "cllm/train/muon.h"
#include "cllm/train/ownership.h"
#include "cllm/train/parameter_exchange.h"
#include "cllm/train/work_sharing.h"

namespace cllm::plan {
namespace {

using collectives::Collective;
using collectives::Pattern;
using collectives::SimulatedSums;

/// Bytes that an update reads and writes for each parameter. Norm: the sum. AdamW: the sum;
/// parameter, mean and mean square, read and written. Muon: the sum, momentum read and written, the
/// direction; then the update, and the parameter read and written.
constexpr double kNormBytes = 4, kAdamWBytes = 28, kDirectionBytes = 16, kApplyBytes = 12;

/// What computing activations again adds to what a layer takes: 7 of the 12 C² of its products,
/// once more beside forward and twice as much backward.
constexpr double kRecomputed = 7.0 / 36;

/// Of what ranks agree on between steps.
constexpr std::size_t kWishBytes = 64;

/// Operations of a token in forward and backward.
struct TokenFlops {
  double head, layer, recomputed;
  std::size_t layers;

  double all() const { return head + layer * static_cast<double>(layers) + recomputed; }
};

TokenFlops token_flops(const model::Layout& layout, std::size_t recompute) {
  TokenFlops flops{.head = 0, .layer = 0, .recomputed = 0, .layers = layout.config().layers};
  for (const model::TableBand& band : layout.lm_head()) {
    flops.head += 6 * static_cast<double>(layout[band.tensor].size());
    if (band.basis) flops.head += 6 * static_cast<double>(layout[*band.basis].size());
  }
  flops.layer = (model::training_flops_per_token(layout) - flops.head) /
                static_cast<double>(layout.config().layers);
  flops.recomputed = static_cast<double>(recompute) * kRecomputed * flops.layer;
  return flops;
}

/// When the group's gradient is complete, as a share of a micro-batch's time. Groups are the head,
/// the layers from the last on, and embeddings.
double ready_share(const TokenFlops& flops, std::size_t group) {
  if (group > flops.layers) return 1;
  const double forward = flops.layer / 3 * static_cast<double>(flops.layers);
  const double backward = (flops.all() - forward - flops.head) / static_cast<double>(flops.layers);
  return (forward + flops.head + backward * static_cast<double>(group)) / flops.all();
}

std::string name_of(const model::Layout& layout, const train::Bucket& bucket) {
  const std::string& first = layout.groups()[bucket.first_group].name;
  const std::string& last = layout.groups()[bucket.end_group - 1].name;
  return first == last ? first : first + " to " + last;
}

std::size_t micro_batches_of(const train::TrainerOptions& options) {
  return train::count_micro_batches(options.batch, options.micro_batch);
}

/// The most that a rank has.
std::size_t most_of_rank(const train::TrainerOptions& options, std::size_t ranks) {
  return (micro_batches_of(options) + ranks - 1) / ranks;
}

/// How a rank's threads share its micro-batches.
struct Sharing {
  std::size_t micro_batches, blocks, teams, size;

  Sharing(const model::Layout& layout, const train::TrainerOptions& options, std::size_t ranks)
      : micro_batches(most_of_rank(options, ranks)) {
    const std::size_t positions = options.micro_batch * layout.config().context;
    blocks = (positions + options.token_block - 1) / options.token_block;
    const std::vector<int> sizes =
        train::plan_teams(options.threads, micro_batches, blocks, options.team);
    teams = sizes.size();
    size = static_cast<std::size_t>(std::ranges::min(sizes));
  }
  std::size_t rounds() const { return (micro_batches + teams - 1) / teams; }
};

bool is_muon(const train::OptimizerOptions& optimizer) {
  return optimizer.name == train::Muon::kKind.name;
}

double flops_of(const std::vector<train::MatrixDeal::Share>& wave,
                std::span<const train::HiddenMatrix> matrices) {
  double most = 0;
  for (const train::MatrixDeal::Share& share : wave) {
    double flops = 0;
    for (const std::size_t i : share.matrices) {
      flops += train::Orthogonaliser::flops(matrices[i].rows, matrices[i].columns);
    }
    most = std::max(most, flops);
  }
  return most;
}

/// The communication thread of a rank, and what is known of the step it sums for.
class Communication {
 public:
  /// `sharded`: ranks get parts of sums.
  Communication(const Figures& figures, const Ways& ways, SimulatedSums& sums, bool sharded)
      : figures_(figures),
        ways_(ways),
        sums_(sums),
        sum_(sharded ? Collective::kReduceScatter : Collective::kAllReduce) {}

  /// Sends parameters of so many bytes, before all buckets. Returns when all have them.
  double gather(double bytes) {
    const SimulatedSums::Time time = run(Collective::kAllGather, bytes, ways_.pattern(bytes));
    bytes_ += time.bytes;
    busy_ += time.busy;
    return gathered_ += time.seconds;
  }

  /// Sums buckets of so many bytes and rows. `scans`: bounds are looked for in the sums themselves.
  void add(BucketTime bucket, double rows, bool scans) {
    bucket.pattern = ways_.bucket_pattern(bucket.bytes);
    const SimulatedSums::Time sum = run(sum_, bucket.bytes, bucket.pattern);
    SimulatedSums::Time bounds;
    if (ways_.reduce == train::Reduce::kExact) bounds = small(rows * sizeof(std::int32_t));
    const double scan = scans ? figures_.costs.per_added_byte * bucket.bytes : 0;
    bytes_ += sum.bytes + bounds.bytes;
    busy_ += sum.busy + bounds.busy + scan;
    buckets_.push_back(std::move(bucket));
    seconds_.push_back(scan + bounds.seconds + sum.seconds);
  }

  /// Of an array of integers that is summed while nothing is computed.
  SimulatedSums::Time small(double bytes) {
    return run(Collective::kAllReduce, bytes, ways_.pattern(bytes));
  }

  /// Seconds of a processor that all buckets take away from computation.
  double stolen() const {
    return figures_.stolen_per_byte ? *figures_.stolen_per_byte * bytes_ : busy_;
  }
  double bytes() const { return bytes_; }
  double seconds() const {
    double all = gathered_;
    for (const double each : seconds_) all += each;
    return all;
  }

  /// When each begins and ends, where bucket b is complete at ready(b).
  template <typename Ready>
  std::vector<BucketTime> take_buckets(const Ready& ready) {
    double now = gathered_;
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
      BucketTime& bucket = buckets_[b];
      bucket.ready = ready(b);
      bucket.begin = std::max(now, bucket.ready);
      bucket.end = now = bucket.begin + seconds_[b];
    }
    return buckets_;
  }

 private:
  /// As if each rank had as much of it.
  SimulatedSums::Time run(Collective what, double bytes, Pattern pattern) {
    return sums_.even(what, static_cast<std::size_t>(bytes), pattern);
  }

  const Figures& figures_;
  const Ways& ways_;
  SimulatedSums& sums_;
  Collective sum_;
  double gathered_ = 0;  // when all parameters are there
  std::vector<BucketTime> buckets_;
  std::vector<double> seconds_;  // of each
  double bytes_ = 0, busy_ = 0;
};

/// Sends what each rank updated. Returns how much later forward ends for waiting for it, where it
/// takes `forward` seconds for each layer.
double delay_of_parameters(const model::Layout& layout, std::span<const train::Bucket> buckets,
                           double forward, Communication& communication) {
  const train::GatherOrder order(layout, buckets);
  std::vector<double> arrivals = {0};
  for (const std::optional<std::size_t>& bucket : order.pieces) {
    const std::size_t size = bucket ? buckets[*bucket].size : layout.groups().front().offset;
    arrivals.push_back(communication.gather(static_cast<double>(size * sizeof(float))));
  }
  double now = 0;
  for (std::size_t group = order.needed.size(); group-- > 0;) {
    now = std::max(now, arrivals[order.needed[group]]);
    const bool is_layer = group > 0 && group + 1 < order.needed.size();
    if (is_layer) now += forward;
  }
  return now - forward * static_cast<double>(layout.config().layers);
}

/// The same of shards: what the busiest rank does for its own.
void update_shard(const model::Layout& layout, const train::TrainerOptions& options,
                  const Figures& figures, std::span<const train::Bucket> buckets,
                  const collectives::Hosts& hosts, StepTime& step) {
  const auto all = static_cast<double>(layout.trained_size());
  const auto ranks = static_cast<double>(hosts.all_ranks());
  const double per_byte = static_cast<double>(hosts.most_ranks()) / figures.update_bytes;
  if (!is_muon(options.optimizer)) {
    step.update = (kNormBytes + kAdamWBytes) * all / ranks * per_byte;
    return;
  }
  const train::Ownership ownership(layout, buckets, train::Muon::is_hidden,
                                   static_cast<int>(hosts.all_ranks()), 0);
  const std::vector<train::HiddenMatrix> matrices = train::hidden_matrices(layout);
  for (std::size_t rank = 0; rank < hosts.all_ranks(); ++rank) {
    double elements = 0, hidden = 0, flops = 0;
    for (std::size_t tensor = 0; tensor < layout.tensors().size(); ++tensor) {
      const auto size = static_cast<double>(ownership.of(rank, tensor).size);
      elements += size;
      if (train::Muon::is_hidden(layout[tensor].role)) hidden += size;
    }
    for (const train::HiddenMatrix& matrix : matrices) {
      const ranks::Part part = ownership.of(rank, matrix.tensor);
      if (matrix.begin < part.offset || matrix.begin >= part.offset + part.size) continue;
      flops += train::Orthogonaliser::flops(matrix.rows, matrix.columns);
    }
    const double bytes = kNormBytes * elements + (kDirectionBytes + kApplyBytes) * hidden +
                         kAdamWBytes * (elements - hidden);
    step.update =
        std::max(step.update, bytes * per_byte + flops / (figures.core_flops * options.threads));
  }
}

/// Puts the update into the step.
void update(const model::Layout& layout, const train::TrainerOptions& options,
            const Figures& figures, const std::vector<Wave>& waves, std::size_t ranks_per_host,
            StepTime& step) {
  const auto all = static_cast<double>(layout.trained_size());
  const double per_byte = static_cast<double>(ranks_per_host) / figures.update_bytes;
  if (waves.empty()) {
    step.update = (kNormBytes + kAdamWBytes) * all * per_byte;
    return;
  }
  double hidden = 0;
  for (const train::HiddenMatrix& matrix : train::hidden_matrices(layout)) {
    hidden += static_cast<double>(matrix.size());
  }
  double now = (kNormBytes * all + kDirectionBytes * hidden) * per_byte, arrived = 0;
  for (const Wave& wave : waves) {
    now += wave.flops / (figures.core_flops * options.threads);
    arrived = std::max(arrived, now) + wave.seconds;
    step.bytes += wave.bytes;
  }
  now += kAdamWBytes * (all - hidden) * per_byte;
  step.gathering = waves.back().seconds > 0 ? std::max(0.0, arrived - now) : 0;
  step.update = now + kApplyBytes * hidden * per_byte;
}

}  // namespace

Pattern Ways::pattern(double bytes) const {
  return forced.value_or(choice.pattern(static_cast<std::size_t>(bytes)));
}

Pattern Ways::bucket_pattern(double bytes) const {
  return reduce == train::Reduce::kExact ? pattern(bytes) : forced.value_or(Pattern::kRing);
}

std::size_t Ways::worthwhile_bytes() const {
  return reduce == train::Reduce::kExact && !forced ? choice.worthwhile_bytes : 0;
}

std::vector<Wave> waves_of(const model::Layout& layout, const train::OptimizerOptions& optimizer,
                           const Ways& ways, Gather gather, SimulatedSums& sums) {
  std::vector<Wave> waves;
  if (!is_muon(optimizer)) return waves;
  const std::vector<train::HiddenMatrix> matrices = train::hidden_matrices(layout);
  const train::MatrixDeal deal =
      train::Muon::deal(matrices, static_cast<int>(sums.hosts().all_ranks()));
  for (std::size_t w = 0; w < deal.waves.size(); ++w) {
    const std::vector<ranks::Part> parts = deal.parts(w);
    double bytes = 0;
    for (const ranks::Part& part : parts) bytes += static_cast<double>(part.size * sizeof(float));
    const Pattern pattern = ways.pattern(bytes);
    const SimulatedSums::Time time =
        gather == Gather::kExact
            ? sums.all_gather(parts, pattern)
            : sums.even(Collective::kAllGather, static_cast<std::size_t>(bytes), pattern);
    waves.push_back(
        {.flops = flops_of(deal.waves[w], matrices), .bytes = time.bytes, .seconds = time.seconds});
  }
  return waves;
}

double micro_batch_flops(const model::Layout& layout, const train::TrainerOptions& options) {
  const double positions = static_cast<double>(options.batch * layout.config().context) /
                           static_cast<double>(micro_batches_of(options));
  return positions * token_flops(layout, options.recompute).all();
}

double relative_compute(const model::Layout& layout, const train::TrainerOptions& options,
                        std::size_t ranks) {
  const Sharing sharing(layout, options, ranks);
  return train::relative_time(sharing.teams, sharing.size, sharing.micro_batches, sharing.blocks);
}

double update_traffic(const model::Layout& layout) {
  return (kNormBytes + kAdamWBytes) * static_cast<double>(layout.trained_size());
}

double update_flops(const model::Layout& layout, const train::OptimizerOptions& optimizer,
                    std::size_t ranks) {
  if (!is_muon(optimizer)) return 0;
  const std::vector<train::HiddenMatrix> matrices = train::hidden_matrices(layout);
  double flops = 0;
  const train::MatrixDeal deal = train::Muon::deal(matrices, static_cast<int>(ranks));
  for (const auto& wave : deal.waves) flops += flops_of(wave, matrices);
  return flops;
}

StepTime step_time(const model::Layout& layout, const train::TrainerOptions& options,
                   const Figures& figures, Frequencies frequencies, const Ways& ways,
                   const std::vector<Wave>& waves, SimulatedSums& sums) {
  const std::size_t ranks = sums.hosts().all_ranks();
  const std::size_t micro_batches = most_of_rank(options, ranks);
  const model::Tiling tiling(layout);
  const TokenRows token_rows =
      expected_token_rows(layout, options.batch * layout.config().context, frequencies);
  const double most = train::usual_bound(micro_batches_of(options), micro_batches);
  const bool scans = most * static_cast<double>(ranks) > 0x1p31;

  const bool sharded = options.shard && ranks > 1;
  Communication communication(figures, ways, sums, sharded);
  const std::vector<train::Bucket> buckets =
      train::buckets_of(layout, tiling, ways.worthwhile_bytes());
  for (const train::Bucket& bucket : buckets) {
    double elements = static_cast<double>(bucket.size);
    double rows = static_cast<double>(bucket.end_row - bucket.first_row);
    if (bucket.end_group == layout.groups().size()) {
      elements += token_rows.elements;
      rows += token_rows.rows;
    }
    communication.add({.name = name_of(layout, bucket), .bytes = elements * sizeof(std::int32_t)},
                      rows, ranks > 1 && scans && ways.reduce == train::Reduce::kExact);
  }

  StepTime step;
  const TokenFlops flops = token_flops(layout, options.recompute);
  const double products = relative_compute(layout, options, ranks) *
                          micro_batch_flops(layout, options) / figures.core_flops;
  const auto rounds = static_cast<double>(Sharing(layout, options, ranks).rounds());
  const double delay =
      sharded
          ? delay_of_parameters(layout, buckets, products / rounds * flops.layer / 3 / flops.all(),
                                communication)
          : 0;
  step.compute = products + communication.stolen() / options.threads;
  const double ends = delay + step.compute;
  step.buckets = communication.take_buckets([&](std::size_t b) {
    return ends - step.compute / rounds * (1 - ready_share(flops, buckets[b].end_group - 1));
  });
  step.exposed = std::max(0.0, step.buckets.back().end - ends);
  step.hidden = std::max(0.0, communication.seconds() - step.exposed - delay);
  step.bytes = communication.bytes();

  const auto tokens = static_cast<double>(layout.config().vocabulary + 1);
  const auto totals = static_cast<double>(tiling.tiles().size() + train::LossSum().values().size());
  for (const double bytes : {layout.trains_table() ? tokens * sizeof(std::int32_t) : 0.0,
                             totals * sizeof(std::int64_t), double{kWishBytes}}) {
    const SimulatedSums::Time time = communication.small(bytes);
    step.small += time.seconds;
    step.bytes += time.bytes;
  }
  if (!sharded) {
    update(layout, options, figures, waves, sums.cluster().ranks, step);
    return step;
  }
  update_shard(layout, options, figures, buckets, sums.hosts(), step);
  step.gathering = delay;
  const SimulatedSums::Time squares =
      communication.small(static_cast<double>(tiling.rows() * sizeof(double)));
  step.small += squares.seconds;
  step.bytes += squares.bytes;
  return step;
}

}  // namespace cllm::plan
