#include "cllm/train/saved_state.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/io/checkpoint.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/model/gradient.h"
#include "cllm/ranks/agreement.h"

namespace cllm::train {
namespace {

nlohmann::json to_json(const Score& score) { return {{"step", score.step}, {"loss", score.loss}}; }

std::optional<Score> score_of(const nlohmann::json& object, const char* key) {
  if (!object.contains(key)) return std::nullopt;
  const nlohmann::json& score = object.at(key);
  return Score{score.at("step").get<std::uint64_t>(), score.at("loss").get<double>()};
}

bool trains_the_same(const model::Layout& a, const model::Layout& b) {
  return std::ranges::equal(a.tensors(), b.tensors(), {}, &model::Tensor::is_trained,
                            &model::Tensor::is_trained);
}

/// Rank 0's, of what is no float.
void broadcast_values(ranks::ProcessGroup& process_group, const model::Layout& layout,
                      State& state) {
  if (process_group.size() == 1) return;
  const nlohmann::json counts = {{"step", state.step}, {"seen", state.tokens_seen}};
  const std::string values = process_group.broadcast(state_to_json(state, counts.dump()));
  const nlohmann::json object = nlohmann::json::parse(values);
  state.step = object.at("step");
  state.tokens_seen = object.at("seen");
  state_from_json(values, "rank 0", layout, state);
}

/// Where a piece of what an optimizer keeps belongs.
struct Place {
  std::uint64_t buffer, tensor, first;
};

/// Keeps what this rank owns of a piece.
void keep(const Place& place, std::span<const float> piece, const model::Layout& layout,
          State& state) {
  StateBuffer& buffer = state.buffers[place.buffer];
  const ranks::Part own = buffer.own(place.tensor);
  const std::size_t at = layout[place.tensor].offset + place.first;
  const std::size_t begin = std::max(own.offset, at);
  const std::size_t end = std::min(own.offset + own.size, at + piece.size());
  if (begin >= end) return;
  std::ranges::copy(piece.subspan(begin - at, end - begin), buffer.at(place.tensor, begin));
}

/// Reads what the optimizer keeps, on rank 0 and in pieces, so that no rank has more of it at once
/// than it owns.
void deal_buffers(const std::filesystem::path& checkpoint, const model::Layout& layout,
                  State& state, ranks::ProcessGroup& process_group) {
  const auto pass_on = [&](const Place& place, std::span<const float> piece) {
    if (process_group.size() == 1) return;
    std::string bytes(sizeof(Place) + piece.size_bytes(), '\0');
    std::memcpy(bytes.data(), &place, sizeof(Place));
    std::memcpy(bytes.data() + sizeof(Place), piece.data(), piece.size_bytes());
    process_group.broadcast(std::move(bytes));
  };
  const auto read = [&] {
    std::vector<io::StateTarget> targets;
    for (std::size_t i = 0; i < state.buffers.size(); ++i) {
      targets.push_back(
          {state.buffers[i].name(),
           [&state, i](std::size_t tensor) { return state.buffers[i].has(tensor); },
           [&, i](std::size_t tensor, std::size_t first, std::span<const float> piece) {
             const Place place{i, tensor, first};
             pass_on(place, piece);
             keep(place, piece, layout, state);
           }});
    }
    io::read_state(checkpoint, layout, targets);
  };
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) {
      // What ends without a byte, because there is no more or because it can't be read.
      for (std::string bytes; !(bytes = process_group.broadcast({})).empty();) {
        Place place{};
        std::memcpy(&place, bytes.data(), sizeof(Place));
        std::vector<float> piece((bytes.size() - sizeof(Place)) / sizeof(float));
        std::memcpy(piece.data(), bytes.data() + sizeof(Place), piece.size() * sizeof(float));
        keep(place, piece, layout, state);
      }
      return;
    }
    try {
      read();
    } catch (...) {
      process_group.broadcast({});
      throw;
    }
    process_group.broadcast({});
  });
}

}  // namespace

std::string state_to_json(const StateValues& state, const std::string& more) {
  nlohmann::json object = nlohmann::json::parse(more);
  if (!state.scale_exponents.empty()) object["row_scales"] = state.scale_exponents;
  object["updates"] = state.updates;
  object["sequences"] = state.sequences;
  object["gradient_norms"] = state.gradient_norms;
  object["not_finite_in_a_row"] = state.not_finite_in_a_row;
  if (state.lacks_evaluation) object["lacks_evaluation"] = true;
  object["rollbacks"] = {{"count", state.rollbacks}, {"step", state.rollback_step}};
  if (state.validation) object["validation"] = to_json(*state.validation);
  if (state.best) object["best"] = to_json(*state.best);
  object["evaluations_since_best"] = state.evaluations_since_best;
  if (object.contains("history")) object["history"].back()["to_step"] = state.step;
  return object.dump();
}

void state_from_json(const std::string& text, const std::string& from, const model::Layout& layout,
                     StateValues& state) {
  try {
    const nlohmann::json object = nlohmann::json::parse(text);
    state.scale_exponents = object.value("row_scales", std::vector<std::int32_t>{});
    state.updates = object.value("updates", state.step);
    state.sequences = object.value("sequences", state.tokens_seen / layout.config().context);
    state.gradient_norms = object.value("gradient_norms", std::vector<double>{});
    state.not_finite_in_a_row = object.value("not_finite_in_a_row", std::uint64_t{0});
    state.lacks_evaluation = object.value("lacks_evaluation", false);
    const nlohmann::json rollbacks = object.value("rollbacks", nlohmann::json::object());
    state.rollbacks = rollbacks.value("count", std::uint64_t{0});
    state.rollback_step = rollbacks.value("step", std::uint64_t{0});
    state.validation = score_of(object, "validation");
    state.best = score_of(object, "best");
    state.evaluations_since_best = object.value("evaluations_since_best", std::uint64_t{0});
  } catch (const nlohmann::json::exception&) {
    fail("{}: its /run/state is not what a run writes; use another checkpoint", from);
  }
  // Checkpoints of before have "scales", one for each tensor: the next step finds those of rows.
  const std::size_t rows = model::tiling_sizes(layout).rows;
  if (!state.scale_exponents.empty() && state.scale_exponents.size() != rows) {
    fail("{}: its /run/state has scales for {} rows, and the model has {}; use another checkpoint",
         from, state.scale_exponents.size(), rows);
  }
}

void broadcast_state(ranks::ProcessGroup& process_group, const model::Layout& layout,
                     State& state) {
  if (process_group.size() == 1) return;
  for (const std::span<float> floats : state.replicated()) ranks::broadcast(process_group, floats);
  broadcast_values(process_group, layout, state);
}

void restore(const std::filesystem::path& checkpoint, const model::Layout& layout, State& state,
             ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const io::RunState run = io::read_run_state(checkpoint);
    const model::Layout written = io::layout_of(run);
    io::read_parameters(checkpoint, layout, state.parameters.span());
    state.step = run.step;
    state.tokens_seen = run.tokens_seen;
    state_from_json(run.state, checkpoint.string(), written, state);
    if (trains_the_same(layout, written)) return;
    // What is known of gradients is of those of other tensors.
    state.scale_exponents.clear();
    state.gradient_norms.clear();
  });
  ranks::broadcast(process_group, state.parameters.span());
  deal_buffers(checkpoint, layout, state, process_group);
  broadcast_values(process_group, layout, state);
}

void read_parameters(const std::filesystem::path& checkpoint, const model::Layout& layout,
                     std::span<float> parameters, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() == 0) io::read_model_weights(checkpoint, layout, parameters);
  });
  ranks::broadcast(process_group, parameters);
}

}  // namespace cllm::train
