#include "cllm/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/stopwatch.h"
#include "cllm/kernels/products.h"

namespace cllm::train {
namespace {

/// So that their number fits beside the batch's tokens.
constexpr std::size_t kMostTargets = std::numeric_limits<std::int32_t>::max();

model::MicroBatchShape micro_batch_shape(const model::ModelConfig& config,
                                         const TrainerOptions& options) {
  return {options.micro_batch, config.context, options.token_block};
}

Share micro_batches_of(const TrainerOptions& options, const ranks::ProcessGroup& process_group) {
  validate(options.optimizer);
  validate(options.schedule);
  check_micro_batch(options.batch, options.micro_batch);
  check_token_block(options.token_block);
  return share_of(count_micro_batches(options.batch, options.micro_batch),
                  static_cast<std::size_t>(process_group.rank()),
                  static_cast<std::size_t>(process_group.size()));
}

std::vector<int> teams_of(const model::ModelConfig& config, const TrainerOptions& options,
                          std::size_t micro_batches) {
  const std::size_t rows = options.micro_batch * config.context;
  return plan_teams(options.threads, micro_batches,
                    (rows + options.token_block - 1) / options.token_block, options.team);
}

GradientAccumulator::Shape sums_shape(const model::ModelConfig& config,
                                      const TrainerOptions& options, const Share& micro_batches) {
  // How many times a micro-batch goes through the head, and so adds to the token embedding.
  const auto head_passes = [&](std::size_t micro_batch) {
    const Share sequences = sequences_of(micro_batch, options.batch, options.micro_batch);
    return model::Workspace::head_passes(config.vocabulary, options.micro_batch * config.context,
                                         sequences.count * config.context);
  };
  return {.local_micro_batches = micro_batches.count,
          .head_passes = head_passes(0),
          .last_head_passes = micro_batches.count == 0
                                  ? 0
                                  : head_passes(micro_batches.first + micro_batches.count - 1),
          .batch_tokens = options.batch * config.context};
}

std::vector<Bucket> buckets_for(const model::Layout& layout, const model::Tiling& tiling,
                                const TrainerOptions& options,
                                const ranks::ProcessGroup& process_group) {
  // Of floats, bits depend on how they fall into buckets, and so may not on a measurement.
  const bool measured = options.reduce == Reduce::kExact;
  return buckets_of(layout, tiling, measured ? process_group.worthwhile_bytes() : 0);
}

Ownership shares_of(const model::Layout& layout, std::span<const Bucket> buckets,
                    const TrainerOptions& options, const ranks::ProcessGroup& process_group) {
  if (!options.shard || process_group.size() == 1) return Ownership(layout);
  return {layout, buckets, find_optimizer(options.optimizer.name).keeps_whole, process_group.size(),
          process_group.rank()};
}

}  // namespace

Trainer::TeamData::TeamData(int size, const model::Network& network, const TrainerOptions& options,
                            bool has_begins)
    : threads(size),
      workspace(network, micro_batch_shape(network.layout.config(), options),
                model::Purpose::kTraining, options.recompute),
      inputs(workspace.rows()),
      targets(workspace.rows()),
      begins(has_begins ? workspace.rows() : 0) {}

Trainer::Trainer(const model::Model& model, const kernels::Kernels& kernels,
                 const TrainerOptions& options, const data::Sequences& sequences,
                 ranks::ProcessGroup& process_group)
    : model_(model),
      options_(options),
      reader_(sequences),
      process_group_(process_group),
      micro_batches_(micro_batches_of(options, process_group)),
      pool_(options.threads, options.trace_events),
      spike_detector_(options.spike_factor),
      buckets_(buckets_for(model.layout(), model.tiling(), options, process_group)),
      ownership_(shares_of(model.layout(), buckets_, options, process_group)),
      sums_(model, kernels, options.reduce,
            sums_shape(model.layout().config(), options, micro_batches_), buckets_, ownership_),
      exchange_(model.layout(), buckets_, ownership_, process_group),
      reducer_(sums_, exchange_, process_group, options.trace_events),
      rows_(model.layout()),
      row_exchange_(rows_, ownership_, process_group),
      norm_(model.layout(), rows_, kernels, pool_, ownership_, row_exchange_),
      group_norms_(model.layout(), rows_, kernels, row_exchange_),
      optimizer_(find_optimizer(options.optimizer.name)
                     .make({model.layout(), rows_, kernels, pool_, process_group, ownership_,
                            &group_norms_},
                           options.optimizer)),
      counts_all_(sequences.counts_all()),
      batch_tokens_(model.layout().config().vocabulary + 1),
      totals_(LossSum().values().size() + model.tiling().tiles().size()) {
  if (options.reduce == Reduce::kExact) check_ranks(process_group.size());
  if (!counts_all_ && options.batch > kMostTargets / sequences.context()) {
    fail("--batch {}: a step of documents or completions has at most {} tokens; give a smaller one",
         options.batch, kMostTargets);
  }
  const bool has_begins = sequences.has_begins();
  const model::ModelConfig& config = model.layout().config();
  std::vector<std::pair<std::size_t, int>> places;  // team and index of each thread
  const std::vector<int> sizes = teams_of(config, options, micro_batches_.count);
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    for (int index = 0; index < sizes[t]; ++index) places.emplace_back(t, index);
  }
  teams_.resize(sizes.size());
  seats_.resize(static_cast<std::size_t>(options.threads));
  std::atomic<bool> short_of_memory = false;
  // Each thread makes its own, so that its memory lies near the processor it runs on.
  pool_.run([&](int thread, Recorder&) {
    const auto i = static_cast<std::size_t>(thread);
    try {
      kernels::prepare_products();
      if (i >= places.size()) return;
      const auto [team, index] = places[i];
      seats_[i] = std::make_unique<Seat>(
          Seat{team, index, model::Scratch(config, model.tiling().largest())});
      if (index == 0)
        teams_[team] =
            std::make_unique<TeamData>(sizes[team], model.network(), options, has_begins);
    } catch (const std::bad_alloc&) {  // an exception must not leave the thread that threw it
      short_of_memory = true;
    }
  });
  if (short_of_memory) throw std::bad_alloc();
}

StepReport Trainer::step(State& state) {
  StepReport report{};
  Stopwatch clock;
  look_ahead(state.sequences);
  if (!counts_all_) report.targets = targets_;
  if (targets_ == 0) return pass_over(state, report);
  scales_before_.assign(state.scale_exponents.begin(), state.scale_exponents.end());
  report.compute_seconds += clock.lap();
  const bool summed = find_scales(state, report) && sum_gradient(state, report);

  clock.lap();
  if (summed) fold_tokens();
  report.gradient_norm = summed ? norm_.of(sums_.gradient()) : std::nan("");
  report.learning_rate = options_.schedule.at(state.step);
  report.outcome = outcome_of(report, state);
  if (report.outcome == Outcome::kUpdated || report.outcome == Outcome::kClipped) {
    group_norms_.begin(options_.norms_every > 0 && (state.step + 1) % options_.norms_every == 0);
    optimizer_->update(sums_.gradient(), report.learning_rate, scale_of(report, state), state);
    group_norms_.end(norm_.parts());
    if (group_norms_.measures()) report.norms = &group_norms_;
    if (options_.reduce == Reduce::kExact) {
      adapt_exponents(model_.tiling(), norm_.bits(), down_after(state.step), state.scale_exponents);
    }
    exchange_.begin(state.parameters.span());
    state.updates += 1;
    const Optimizer::Communication sent = optimizer_->communication();
    report.communication_seconds += sent.exposed;
    report.hidden_communication_seconds += sent.hidden;
    report.update_seconds -= sent.exposed;
  } else {
    state.scale_exponents.assign(scales_before_.begin(), scales_before_.end());
  }
  report.update_seconds += clock.lap();
  if (report.outcome != Outcome::kRefused) count(report, state);
  return report;
}

/// A step whose batch has nothing to learn from.
StepReport Trainer::pass_over(State& state, StepReport report) const {
  report.loss = std::nan("");
  report.learning_rate = options_.schedule.at(state.step);
  report.outcome = Outcome::kEmpty;
  advance(state);
  return report;
}

Outcome Trainer::outcome_of(const StepReport& report, const State& state) const {
  switch (spike_detector_.judge(report.loss, report.gradient_norm, state.gradient_norms)) {
    case Health::kUsual:
      return Outcome::kUpdated;
    case Health::kSpike:
      if (options_.on_spike == OnSpike::kClip) return Outcome::kClipped;
      break;
    case Health::kNotFinite:
      if (state.not_finite_in_a_row >= SpikeDetector::kMostNotFinite) return Outcome::kRefused;
      if (options_.on_spike == OnSpike::kClip) return Outcome::kSkipped;
      break;
  }
  return options_.on_spike == OnSpike::kSkip ? Outcome::kSkipped : Outcome::kRefused;
}

/// What the gradient is multiplied with.
double Trainer::scale_of(const StepReport& report, const State& state) const {
  const double scale = clip_scale(report.gradient_norm, options_.optimizer.clip);
  if (report.outcome != Outcome::kClipped) return scale;
  return std::min(scale, SpikeDetector::median(state.gradient_norms) / report.gradient_norm);
}

void Trainer::count(const StepReport& report, State& state) const {
  const bool finite = std::isfinite(report.loss) && std::isfinite(report.gradient_norm);
  if (finite) SpikeDetector::remember(report.gradient_norm, state.gradient_norms);
  state.not_finite_in_a_row = finite ? 0 : state.not_finite_in_a_row + 1;
  advance(state);
}

void Trainer::advance(State& state) const {
  state.step += 1;
  state.sequences += options_.batch;
  state.tokens_seen += options_.batch * model_.layout().config().context;
}

/// The global batch's gradient, in sums_, and its loss. Where an integer of it was too large, it is
/// taken again with a smaller scale, which `state` keeps. Returns whether there is such a gradient:
/// one that isn't finite fits no scale.
bool Trainer::sum_gradient(State& state, StepReport& report) {
  bool fits = false;
  while (!fits) {
    Stopwatch clock;
    sums_.begin(batch_tokens(), state.scale_exponents);
    reducer_.start();
    forward_backward(state);
    const double waited = exchange_.take_waited_seconds() / pool_.size();
    report.compute_seconds += clock.lap() - waited;
    reducer_.wait();
    LossSum loss;
    const std::span<const std::int64_t> sizes = gather_totals(loss);
    const double exposed = clock.lap() + waited;
    report.communication_seconds += exposed;
    report.hidden_communication_seconds += std::max(0.0, reducer_.seconds() - exposed);

    report.loss = loss.mean();
    fits = true;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] < IntegerSums::kMostSize) continue;
      fits = false;
      const model::Tile& tile = model_.tiling()[i];
      const std::string& name = model_.layout()[tile.tensor].name;
      const bool is_new = std::ranges::find(report.overflowed, name) == report.overflowed.end();
      if (is_new) report.overflowed.push_back(name);
      if (!lower_exponents(tile, state.scale_exponents)) return false;
    }
    if (!fits && !std::isfinite(report.loss)) return false;
  }
  return true;
}

void Trainer::fold_tokens() {
  pool_.run([&](int thread, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    sums_.fold_tokens(thread, pool_.size());
  });
}

/// Where sums have no history, takes the step's gradient for its size alone. Returns whether there
/// is such a gradient.
bool Trainer::find_scales(State& state, StepReport& report) {
  if (options_.reduce != Reduce::kExact || !state.scale_exponents.empty()) return true;
  state.scale_exponents = initial_exponents(model_.tiling().rows());
  StepReport sizes{};
  const bool summed = sum_gradient(state, sizes);
  report.loss = sizes.loss;
  if (!summed) return false;
  fold_tokens();
  norm_.of(sums_.gradient());
  adapt_exponents(model_.tiling(), norm_.bits(), Down::kAllTheWay, state.scale_exponents);
  return true;
}

/// Each team takes micro-batches of this rank, one after the other, until none is left. An error
/// here can leave only through std::terminate: this rank's communication thread waits for what is
/// computed, and so do other ranks.
void Trainer::forward_backward(const State& state) noexcept {
  next_micro_batch_ = 0;
  for (const auto& team : teams_) team->loss = {};
  pool_.run([&](int thread, Recorder& recorder) {
    Seat* seat = seats_[static_cast<std::size_t>(thread)].get();
    if (seat != nullptr) take_micro_batches(*teams_[seat->team], *seat, recorder, state);
  });
}

void Trainer::take_micro_batches(TeamData& team, Seat& seat, Recorder& recorder,
                                 const State& state) {
  const Member me{team.threads, seat.index, recorder};
  const float scale = 1.0f / static_cast<float>(targets_);
  for (std::size_t turn = 0;; ++turn) {
    me.wait();  // until nobody needs the last micro-batch
    if (me.index == 0) {
      team.micro_batch = next_micro_batch(seat.team, turn);
      if (team.micro_batch < micro_batches_.count) {
        const Share sequences = sequences_of_micro_batch(team.micro_batch);
        reader_.read(state.sequences + sequences.first, sequences.count,
                     {team.inputs.data(), team.targets.data(), team.begins.data()});
      }
    }
    me.wait();
    if (team.micro_batch >= micro_batches_.count) return;
    fail_point("micro-batch.begins");
    const model::MicroBatch micro_batch{team.inputs.data(),
                                        team.targets.data(),
                                        sequences_of_micro_batch(team.micro_batch).count,
                                        model_.layout().config().context,
                                        0,
                                        team.begins.data()};
    GradientAccumulator::MicroBatchSink sink(sums_, team.micro_batch);
    const double loss =
        model_.loss_and_gradient(state.parameters.data(), micro_batch, scale, team.workspace,
                                 seat.scratch, sink, me, &exchange_);
    if (me.index == 0)
      team.loss.add(loss, counts_all_ ? micro_batch.rows() : micro_batch.counted());
  }
}

/// Where sums have no order, whoever is free takes the next micro-batch. Floats are added in the
/// order of micro-batches, so teams take them in turn.
std::size_t Trainer::next_micro_batch(std::size_t team, std::size_t turn) {
  if (options_.reduce == Reduce::kExact) return next_micro_batch_.fetch_add(1);
  return turn * teams_.size() + team;
}

/// Of the global batch, those of this rank's `micro_batch`th.
Share Trainer::sequences_of_micro_batch(std::size_t micro_batch) const {
  return sequences_of(micro_batches_.first + micro_batch, options_.batch, options_.micro_batch);
}

/// Which tokens the global batch that begins with sequence `begin` has as inputs, and how many of
/// its targets count. Each rank reads its own part.
void Trainer::look_ahead(std::uint64_t begin) {
  batch_tokens_.fill(0);
  std::int32_t& counted = batch_tokens_[batch_tokens_.size() - 1];
  const bool marks = model_.layout().trains_table();  // else nobody asks for tokens
  for (std::size_t micro_batch = 0; micro_batch < micro_batches_.count; ++micro_batch) {
    const Share sequences = sequences_of_micro_batch(micro_batch);
    if (marks) reader_.mark(begin + sequences.first, sequences.count, batch_tokens_.span());
    if (counts_all_) continue;
    counted += static_cast<std::int32_t>(reader_.counted(begin + sequences.first, sequences.count));
  }
  if (process_group_.size() > 1 && (marks || !counts_all_)) {
    process_group_.all_reduce(batch_tokens_.span());
  }
  targets_ = counts_all_ ? options_.batch * model_.layout().config().context
                         : static_cast<std::uint64_t>(counted);
}

/// The losses of all ranks; returns for each tile the size that its contributions come to.
std::span<const std::int64_t> Trainer::gather_totals(LossSum& loss) {
  loss = {};
  for (const auto& team : teams_) loss.add(team->loss);
  const std::size_t count = loss.values().size();
  std::ranges::copy(loss.values(), totals_.data());
  sums_.sizes(totals_.span().subspan(count));
  process_group_.all_reduce(totals_.span());
  std::ranges::copy(totals_.span().first(count), loss.values().begin());
  return totals_.span().subspan(count);
}

std::uint64_t Trainer::thread_bytes(const model::Network& network, const TrainerOptions& options,
                                    const ranks::ProcessGroup& process_group) {
  using model::Purpose;
  const model::ModelConfig& config = network.layout.config();
  const std::uint64_t workspace = model::Workspace::bytes_for(
      network, micro_batch_shape(config, options), Purpose::kTraining, options.recompute);
  const std::uint64_t scratch =
      model::Scratch::bytes_for(config, model::tiling_sizes(network.layout).largest);
  const std::vector<int> teams =
      teams_of(config, options, micro_batches_of(options, process_group).count);
  std::uint64_t bytes = workspace * teams.size();
  for (const int size : teams) bytes += scratch * static_cast<std::uint64_t>(size);
  return bytes;
}

std::uint64_t Trainer::sums_bytes(const model::Layout& layout, const TrainerOptions& options,
                                  const ranks::ProcessGroup& process_group) {
  const Share micro_batches = micro_batches_of(options, process_group);
  return GradientAccumulator::bytes_for(layout, options.reduce,
                                        sums_shape(layout.config(), options, micro_batches),
                                        count_micro_batches(options.batch, options.micro_batch));
}

Ownership Trainer::ownership_of(const model::Layout& layout, const TrainerOptions& options,
                                const ranks::ProcessGroup& process_group) {
  const model::Tiling tiling(layout);
  return shares_of(layout, buckets_for(layout, tiling, options, process_group), options,
                   process_group);
}

std::string Trainer::bucket_name(std::size_t bucket) const {
  const Bucket& b = sums_.buckets()[bucket];
  const std::span<const model::Group> groups = model_.layout().groups();
  const std::string& first = groups[b.first_group].name;
  return b.end_group - b.first_group == 1 ? first : first + " to " + groups[b.end_group - 1].name;
}

std::vector<int> Trainer::teams() const {
  std::vector<int> sizes;
  for (const auto& team : teams_) sizes.push_back(team->threads.size());
  return sizes;
}

}  // namespace cllm::train
