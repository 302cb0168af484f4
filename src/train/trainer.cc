#include "cllm/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cllm/base/error.h"
#include "cllm/base/stopwatch.h"

namespace cllm::train {
namespace {

model::UnitShape unit_shape(const model::ModelConfig& config, const TrainerOptions& options) {
  return {options.micro_batch, config.context, options.row_block};
}

/// How many times a unit goes through the head, and so adds to the token table.
std::size_t head_passes(const model::ModelConfig& config, const TrainerOptions& options) {
  return model::Workspace::head_passes(config, options.micro_batch * config.context);
}

Share units_of(const TrainerOptions& options, const Collective& collective) {
  validate(options.optimizer);
  validate(options.schedule);
  check_micro_batch(options.batch, options.micro_batch);
  check_row_block(options.row_block);
  return share_of(options.batch / options.micro_batch, static_cast<std::size_t>(collective.rank()),
                  static_cast<std::size_t>(collective.size()));
}

std::vector<int> teams_of(const model::ModelConfig& config, const TrainerOptions& options,
                          std::size_t units) {
  const std::size_t rows = options.micro_batch * config.context;
  return plan_teams(options.threads, units, (rows + options.row_block - 1) / options.row_block,
                    options.team);
}

}  // namespace

Trainer::Crewmates::Crewmates(int size, const model::ModelConfig& config,
                              const TrainerOptions& options)
    : team(size),
      workspace(config, unit_shape(config, options), model::Purpose::kTraining),
      window(config.context + 1),
      inputs(options.micro_batch * config.context),
      targets(options.micro_batch * config.context) {}

Trainer::Trainer(const model::Gpt& gpt, const kernels::Kernels& kernels,
                 const TrainerOptions& options, data::TokenView tokens,
                 const data::WindowSampler& sampler, Collective& collective)
    : gpt_(gpt),
      options_(options),
      tokens_(tokens),
      sampler_(sampler),
      collective_(collective),
      units_(units_of(options, collective)),
      crew_(options.threads, options.trace_events),
      scales_(options.batch / options.micro_batch *
              (head_passes(gpt.layout().config(), options) + 1)),
      sums_(gpt, kernels, options.reduce,
            {.local_units = units_.count,
             .head_passes = head_passes(gpt.layout().config(), options),
             .batch_tokens = options.batch * gpt.layout().config().context}),
      reducer_(sums_, collective, options.trace_events),
      optimizer_(gpt.layout(), kernels, options.optimizer, crew_),
      batch_tokens_(gpt.layout().config().vocabulary),
      totals_(LossSum().values().size() + gpt.layout().tensors().size()) {
  const model::ModelConfig& config = gpt.layout().config();
  std::vector<std::pair<std::size_t, int>> places;  // team and index of each thread
  const std::vector<int> sizes = teams_of(config, options, units_.count);
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    for (int index = 0; index < sizes[t]; ++index) places.emplace_back(t, index);
  }
  teams_.resize(sizes.size());
  seats_.resize(static_cast<std::size_t>(options.threads));
  std::atomic<bool> short_of_memory = false;
  // Each thread makes its own, so that its memory lies near the processor it runs on.
  crew_.run([&](int thread, Recorder&) {
    const auto i = static_cast<std::size_t>(thread);
    if (i >= places.size()) return;
    try {
      const auto [team, index] = places[i];
      seats_[i] = std::make_unique<Seat>(
          Seat{team, index,
               model::Scratch(config.context, gpt.tiling().scratch(), model::Purpose::kTraining)});
      if (index == 0) teams_[team] = std::make_unique<Crewmates>(sizes[team], config, options);
    } catch (const std::bad_alloc&) {  // an exception must not leave the thread that threw it
      short_of_memory = true;
    }
  });
  if (short_of_memory) throw std::bad_alloc();
}

StepReport Trainer::step(State& state) {
  StepReport report{};
  Stopwatch clock;
  mark_tokens(state.step);
  report.compute_seconds += clock.lap();
  if (options_.reduce == Reduce::kExact && state.scale_exponents.empty()) find_scales(state);
  const LossSum loss = sum_gradient(state, report);

  clock.lap();
  fold_tokens();
  report.loss = loss.mean();
  report.rate = options_.schedule.at(state.step);
  report.gradient_norm = optimizer_.norm(sums_.gradient());
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) not_a_number(state);
  optimizer_.update(sums_.gradient(), report.rate,
                    clip_scale(report.gradient_norm, options_.optimizer.clip), state);
  scales_.adapt(optimizer_.largest(), false, state.scale_exponents);
  report.update_seconds = clock.lap();

  state.step += 1;
  state.tokens_seen += options_.batch * gpt_.layout().config().context;
  return report;
}

/// The global batch's gradient, in sums_, and its losses. Where an integer of it was too large, it
/// is taken again with a smaller scale, which `state` keeps.
LossSum Trainer::sum_gradient(State& state, StepReport& report) {
  LossSum loss;
  bool fits = false;
  while (!fits) {
    Stopwatch clock;
    sums_.begin(batch_tokens_.span(), state.scale_exponents, scales_.limit());
    reducer_.start();
    forward_backward(state);
    report.compute_seconds += clock.lap();
    reducer_.wait();
    const std::span<const std::int64_t> overflows = gather_totals(loss);
    const double exposed = clock.lap();
    report.communication_seconds += exposed;
    report.hidden_communication_seconds += std::max(0.0, reducer_.seconds() - exposed);

    fits = std::ranges::all_of(overflows, [](std::int64_t ranks) { return ranks == 0; });
    for (std::size_t i = 0; i < overflows.size(); ++i) {
      if (overflows[i] > 0) report.overflowed.push_back(gpt_.layout()[i].name);
    }
    if (!fits &&
        (!std::isfinite(loss.mean()) || !GradientScales::lower(overflows, state.scale_exponents))) {
      not_a_number(state);
    }
  }
  return loss;
}

void Trainer::fold_tokens() {
  crew_.run([&](int thread, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    sums_.fold_tokens(thread, crew_.size());
  });
}

/// Takes the step's gradient for its size alone.
void Trainer::find_scales(State& state) {
  state.scale_exponents = GradientScales::initial(gpt_.layout().tensors().size());
  StepReport ignored{};
  sum_gradient(state, ignored);
  fold_tokens();
  optimizer_.norm(sums_.gradient());
  scales_.adapt(optimizer_.largest(), true, state.scale_exponents);
}

void Trainer::not_a_number(const State& state) const {
  throw ReplicatedError(
      fmt::format("the loss or its gradient is not a number at step {}; lower --lr, lengthen "
                  "--warmup or lower --clip, and start anew or from the last checkpoint",
                  state.step + 1));
}

/// Each team takes units of this rank, one after the other, until none is left.
void Trainer::forward_backward(const State& state) {
  next_unit_ = 0;
  for (const auto& mates : teams_) mates->loss = {};
  crew_.run([&](int thread, Recorder& recorder) {
    Seat* seat = seats_[static_cast<std::size_t>(thread)].get();
    if (seat != nullptr) take_units(*teams_[seat->crewmates], *seat, recorder, state);
  });
}

void Trainer::take_units(Crewmates& mates, Seat& seat, Recorder& recorder, const State& state) {
  const Member me{mates.team, seat.index, recorder};
  const float scale = 1.0f / static_cast<float>(options_.batch * gpt_.layout().config().context);
  for (std::size_t turn = 0;; ++turn) {
    me.wait();  // until nobody needs the last unit
    if (me.index == 0) {
      mates.unit = next_unit(seat.crewmates, turn);
      if (mates.unit < units_.count) read_unit(state.step, mates);
    }
    me.wait();
    if (mates.unit >= units_.count) return;
    const model::Unit unit{mates.inputs.data(), mates.targets.data(), options_.micro_batch,
                           gpt_.layout().config().context};
    GradientSums::UnitSink sink(sums_, mates.unit);
    const double loss = gpt_.loss_and_gradient(state.parameters.data(), unit, scale,
                                               mates.workspace, seat.scratch, sink, me);
    if (me.index == 0) mates.loss.add(loss, unit.rows());
  }
}

/// Where sums have no order, whoever is free takes the next unit. Floats are added in the order of
/// units, so teams take them in turn.
std::size_t Trainer::next_unit(std::size_t team, std::size_t turn) {
  if (options_.reduce == Reduce::kExact) return next_unit_.fetch_add(1);
  return turn * teams_.size() + team;
}

/// The tokens of a unit of the global batch of `step`, in the team's buffers.
void Trainer::read_unit(std::uint64_t step, Crewmates& mates) const {
  const std::size_t context = gpt_.layout().config().context;
  const std::size_t first = (units_.first + mates.unit) * options_.micro_batch;
  for (std::size_t s = 0; s < options_.micro_batch; ++s) {
    std::uint32_t* window = mates.window.data();
    tokens_.copy(sampler_.start(step * options_.batch + first + s), context + 1, window);
    std::memcpy(mates.inputs.data() + s * context, window, context * sizeof(*window));
    std::memcpy(mates.targets.data() + s * context, window + 1, context * sizeof(*window));
  }
}

/// Which tokens the global batch of `step` has as inputs.
void Trainer::mark_tokens(std::uint64_t step) {
  const std::size_t context = gpt_.layout().config().context;
  std::uint32_t* window = teams_.front()->window.data();
  batch_tokens_.fill(0);
  for (std::size_t s = 0; s < options_.batch; ++s) {
    tokens_.copy(sampler_.start(step * options_.batch + s), context, window);
    for (std::size_t i = 0; i < context; ++i) batch_tokens_[window[i]] = 1;
  }
}

/// The losses of all ranks; returns for each tensor how many ranks had an integer too large.
std::span<const std::int64_t> Trainer::gather_totals(LossSum& loss) {
  loss = {};
  for (const auto& mates : teams_) loss.add(mates->loss);
  const std::size_t count = loss.values().size();
  std::ranges::copy(loss.values(), totals_.data());
  sums_.overflows(totals_.span().subspan(count));
  collective_.sum(totals_.span());
  std::ranges::copy(totals_.span().first(count), loss.values().begin());
  return totals_.span().subspan(count);
}

std::uint64_t Trainer::thread_bytes(const model::Layout& layout, const TrainerOptions& options,
                                    const Collective& collective) {
  using model::Purpose;
  const model::ModelConfig& config = layout.config();
  const std::uint64_t workspace =
      model::Workspace::bytes_for(config, unit_shape(config, options), Purpose::kTraining);
  const std::uint64_t scratch = model::Scratch::bytes_for(
      config.context, model::Tiling(layout).scratch(), Purpose::kTraining);
  const std::vector<int> teams = teams_of(config, options, units_of(options, collective).count);
  std::uint64_t bytes = workspace * teams.size();
  for (const int size : teams) bytes += scratch * static_cast<std::uint64_t>(size);
  return bytes;
}

std::string Trainer::bucket_name(std::size_t bucket) const {
  const Bucket& b = sums_.buckets()[bucket];
  const std::span<const model::Group> groups = gpt_.layout().groups();
  const std::string& first = groups[b.first_group].name;
  return b.end_group - b.first_group == 1 ? first : first + " to " + groups[b.end_group - 1].name;
}

std::vector<int> Trainer::teams() const {
  std::vector<int> sizes;
  for (const auto& mates : teams_) sizes.push_back(mates->team.size());
  return sizes;
}

}  // namespace cllm::train
