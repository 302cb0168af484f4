#include "cllm/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/stopwatch.h"

namespace cllm::train {
namespace {

model::UnitShape unit_shape(const model::ModelConfig& config, const TrainerOptions& options) {
  return {options.micro_batch, config.context, options.row_block};
}

Share units_of(const TrainerOptions& options, const Collective& collective) {
  validate(options.optimizer);
  validate(options.schedule);
  check_micro_batch(options.batch, options.micro_batch);
  check_row_block(options.row_block);
  return share_of(count_units(options.batch, options.micro_batch),
                  static_cast<std::size_t>(collective.rank()),
                  static_cast<std::size_t>(collective.size()));
}

std::vector<int> teams_of(const model::ModelConfig& config, const TrainerOptions& options,
                          std::size_t units) {
  const std::size_t rows = options.micro_batch * config.context;
  return plan_teams(options.threads, units, (rows + options.row_block - 1) / options.row_block,
                    options.team);
}

/// Tokens in the order of their rows.
std::vector<std::uint32_t> order_of(const std::vector<std::uint32_t>& row_of) {
  std::vector<std::uint32_t> tokens(row_of.size());
  for (std::uint32_t token = 0; token < row_of.size(); ++token) tokens[row_of[token]] = token;
  return tokens;
}

GradientSums::Shape sums_shape(const model::ModelConfig& config, const TrainerOptions& options,
                               const Share& units) {
  // How many times a unit goes through the head, and so adds to the token table.
  const auto head_passes = [&](std::size_t unit) {
    const Share sequences = sequences_of(unit, options.batch, options.micro_batch);
    return model::Workspace::head_passes(config, options.micro_batch * config.context,
                                         sequences.count * config.context);
  };
  return {.local_units = units.count,
          .head_passes = head_passes(0),
          .last_head_passes = units.count == 0 ? 0 : head_passes(units.first + units.count - 1),
          .batch_tokens = options.batch * config.context,
          .row_order = order_of(options.row_of)};
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
      sentinel_(options.spike_factor),
      sums_(gpt, kernels, options.reduce, sums_shape(gpt.layout().config(), options, units_)),
      reducer_(sums_, collective, options.trace_events),
      optimizer_(gpt.layout(), kernels, options.optimizer, crew_),
      input_rows_(options.row_of.size() * gpt.layout().config().table_width()),
      batch_tokens_(gpt.layout().config().vocabulary),
      totals_(LossSum().values().size() + gpt.tiling().tiles().size()) {
  if (options.reduce == Reduce::kExact) check_ranks(collective.size());
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
  mark_tokens(state.sequences);
  copy_table(state);
  scales_before_.assign(state.scale_exponents.begin(), state.scale_exponents.end());
  report.compute_seconds += clock.lap();
  const bool summed = find_scales(state, report) && sum_gradient(state, report);

  clock.lap();
  if (summed) fold_tokens();
  report.gradient_norm = summed ? optimizer_.norm(sums_.gradient()) : std::nan("");
  report.rate = options_.schedule.at(state.step);
  report.outcome = outcome_of(report, state);
  if (report.outcome == Outcome::kUpdated || report.outcome == Outcome::kClipped) {
    optimizer_.update(sums_.gradient(), report.rate, scale_of(report, state), state);
    if (options_.reduce == Reduce::kExact) {
      adapt_exponents(gpt_.tiling(), optimizer_.bits(), down_after(state.step),
                      state.scale_exponents);
    }
    state.updates += 1;
  } else {
    state.scale_exponents.assign(scales_before_.begin(), scales_before_.end());
  }
  report.update_seconds = clock.lap();
  if (report.outcome != Outcome::kRefused) count(report, state);
  return report;
}

Outcome Trainer::outcome_of(const StepReport& report, const State& state) const {
  switch (sentinel_.judge(report.loss, report.gradient_norm, state.gradient_norms)) {
    case Health::kUsual:
      return Outcome::kUpdated;
    case Health::kSpike:
      if (options_.on_spike == OnSpike::kClip) return Outcome::kClipped;
      break;
    case Health::kNotFinite:
      if (state.not_finite_in_a_row >= Sentinel::kMostNotFinite) return Outcome::kRefused;
      if (options_.on_spike == OnSpike::kClip) return Outcome::kSkipped;
      break;
  }
  return options_.on_spike == OnSpike::kSkip ? Outcome::kSkipped : Outcome::kRefused;
}

/// What the gradient is multiplied with.
double Trainer::scale_of(const StepReport& report, const State& state) const {
  const double scale = clip_scale(report.gradient_norm, options_.optimizer.clip);
  if (report.outcome != Outcome::kClipped) return scale;
  return std::min(scale, Sentinel::median(state.gradient_norms) / report.gradient_norm);
}

void Trainer::count(const StepReport& report, State& state) const {
  const bool finite = std::isfinite(report.loss) && std::isfinite(report.gradient_norm);
  if (finite) Sentinel::remember(report.gradient_norm, state.gradient_norms);
  state.not_finite_in_a_row = finite ? 0 : state.not_finite_in_a_row + 1;
  state.step += 1;
  state.sequences += options_.batch;
  state.tokens_seen += options_.batch * gpt_.layout().config().context;
}

/// The global batch's gradient, in sums_, and its loss. Where an integer of it was too large, it is
/// taken again with a smaller scale, which `state` keeps. Returns whether there is such a gradient:
/// one that isn't finite fits no scale.
bool Trainer::sum_gradient(State& state, StepReport& report) {
  bool fits = false;
  while (!fits) {
    Stopwatch clock;
    sums_.begin(batch_tokens_.span(), state.scale_exponents);
    reducer_.start();
    forward_backward(state);
    report.compute_seconds += clock.lap();
    reducer_.wait();
    LossSum loss;
    const std::span<const std::int64_t> sizes = gather_totals(loss);
    const double exposed = clock.lap();
    report.communication_seconds += exposed;
    report.hidden_communication_seconds += std::max(0.0, reducer_.seconds() - exposed);

    report.loss = loss.mean();
    fits = true;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] < IntegerSums::kMostSize) continue;
      fits = false;
      const model::Tile& tile = gpt_.tiling()[i];
      const std::string& name = gpt_.layout()[tile.tensor].name;
      const bool is_new = std::ranges::find(report.overflowed, name) == report.overflowed.end();
      if (is_new) report.overflowed.push_back(name);
      if (!lower_exponents(tile, state.scale_exponents)) return false;
    }
    if (!fits && !std::isfinite(report.loss)) return false;
  }
  return true;
}

void Trainer::fold_tokens() {
  crew_.run([&](int thread, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    sums_.fold_tokens(thread, crew_.size());
  });
}

/// Where sums have no history, takes the step's gradient for its size alone. Returns whether there
/// is such a gradient.
bool Trainer::find_scales(State& state, StepReport& report) {
  if (options_.reduce != Reduce::kExact || !state.scale_exponents.empty()) return true;
  state.scale_exponents = initial_exponents(gpt_.tiling().rows());
  StepReport sizes{};
  const bool summed = sum_gradient(state, sizes);
  report.loss = sizes.loss;
  if (!summed) return false;
  fold_tokens();
  optimizer_.norm(sums_.gradient());
  adapt_exponents(gpt_.tiling(), optimizer_.bits(), Down::kAllTheWay, state.scale_exponents);
  return true;
}

/// Each team takes units of this rank, one after the other, until none is left. An error here can
/// leave only through std::terminate: this rank's communication thread waits for what is computed,
/// and so do other ranks.
void Trainer::forward_backward(const State& state) noexcept {
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
      if (mates.unit < units_.count) read_unit(state.sequences, mates);
    }
    me.wait();
    if (mates.unit >= units_.count) return;
    fail_point("unit.begins");
    const model::InputTable table{input_rows_.data(), options_.row_of.data()};
    const model::Unit unit{mates.inputs.data(), mates.targets.data(),
                           sequences_of_unit(mates.unit).count, gpt_.layout().config().context,
                           options_.row_of.empty() ? nullptr : &table};
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

/// The tokens of a unit of the global batch that begins with sequence `begin`, in the team's
/// buffers.
void Trainer::read_unit(std::uint64_t begin, Crewmates& mates) const {
  const std::size_t context = gpt_.layout().config().context;
  const Share sequences = sequences_of_unit(mates.unit);
  for (std::size_t s = 0; s < sequences.count; ++s) {
    std::uint32_t* window = mates.window.data();
    tokens_.copy(sampler_.start(begin + sequences.first + s), context + 1, window);
    std::memcpy(mates.inputs.data() + s * context, window, context * sizeof(*window));
    std::memcpy(mates.targets.data() + s * context, window + 1, context * sizeof(*window));
  }
}

/// Of the global batch, those of this rank's `unit`th.
Share Trainer::sequences_of_unit(std::size_t unit) const {
  return sequences_of(units_.first + unit, options_.batch, options_.micro_batch);
}

/// Which tokens the global batch that begins with sequence `begin` has as inputs. Each rank reads
/// its own part.
void Trainer::mark_tokens(std::uint64_t begin) {
  const std::size_t context = gpt_.layout().config().context;
  std::uint32_t* window = teams_.front()->window.data();
  batch_tokens_.fill(0);
  for (std::size_t unit = 0; unit < units_.count; ++unit) {
    const Share sequences = sequences_of_unit(unit);
    for (std::size_t s = sequences.first; s < sequences.first + sequences.count; ++s) {
      tokens_.copy(sampler_.start(begin + s), context, window);
      for (std::size_t i = 0; i < context; ++i) batch_tokens_[window[i]] = 1;
    }
  }
  if (collective_.size() > 1) collective_.sum(batch_tokens_.span());
}

/// The token table as it is, in the order in which inputs are looked up.
void Trainer::copy_table(const State& state) {
  const model::Layout& layout = gpt_.layout();
  const std::size_t width = layout.config().table_width();
  const float* const table = state.parameters.data() + layout[layout.table()].offset;
  crew_.share(options_.row_of.size(), [&](std::size_t token, Recorder&) {
    std::memcpy(input_rows_.data() + options_.row_of[token] * width, table + token * width,
                width * sizeof(float));
  });
}

/// The losses of all ranks; returns for each tile the size that its contributions come to.
std::span<const std::int64_t> Trainer::gather_totals(LossSum& loss) {
  loss = {};
  for (const auto& mates : teams_) loss.add(mates->loss);
  const std::size_t count = loss.values().size();
  std::ranges::copy(loss.values(), totals_.data());
  sums_.sizes(totals_.span().subspan(count));
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
      config.context, model::tiling_sizes(layout).scratch, Purpose::kTraining);
  const std::vector<int> teams = teams_of(config, options, units_of(options, collective).count);
  std::uint64_t bytes = workspace * teams.size();
  bytes += options.row_of.size() * config.table_width() * sizeof(float);
  for (const int size : teams) bytes += scratch * static_cast<std::uint64_t>(size);
  return bytes;
}

std::uint64_t Trainer::sums_bytes(const model::Layout& layout, const TrainerOptions& options,
                                  const Collective& collective) {
  const Share units = units_of(options, collective);
  return GradientSums::bytes_for(layout, options.reduce,
                                 sums_shape(layout.config(), options, units),
                                 count_units(options.batch, options.micro_batch));
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
