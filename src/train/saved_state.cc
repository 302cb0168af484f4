#include "cllm/train/saved_state.h"

#include <algorithm>
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
  for (const std::span<float> floats : state.floats()) ranks::broadcast(process_group, floats);
  const nlohmann::json counts = {{"step", state.step}, {"seen", state.tokens_seen}};
  const std::string values = process_group.broadcast(state_to_json(state, counts.dump()));
  const nlohmann::json object = nlohmann::json::parse(values);
  state.step = object.at("step");
  state.tokens_seen = object.at("seen");
  state_from_json(values, "rank 0", layout, state);
}

void restore(const std::filesystem::path& checkpoint, const model::Layout& layout, State& state,
             ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const io::RunState run = io::read_run_state(checkpoint);
    const model::Layout written = io::layout_of(run);
    io::read_parameters(checkpoint, layout, state.parameters.span());
    std::vector<io::StateGroup<float>> groups;
    for (StateBuffer& buffer : state.buffers) {
      groups.push_back({buffer.name, buffer.places, buffer.values.span()});
    }
    io::read_state(checkpoint, layout, groups);
    state.step = run.step;
    state.tokens_seen = run.tokens_seen;
    state_from_json(run.state, checkpoint.string(), written, state);
    if (trains_the_same(layout, written)) return;
    // What is known of gradients is of those of other tensors.
    state.scale_exponents.clear();
    state.gradient_norms.clear();
  });
  broadcast_state(process_group, layout, state);
}

void read_parameters(const std::filesystem::path& checkpoint, const model::Layout& layout,
                     std::span<float> parameters, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() == 0) io::read_model_weights(checkpoint, layout, parameters);
  });
  ranks::broadcast(process_group, parameters);
}

}  // namespace cllm::train
