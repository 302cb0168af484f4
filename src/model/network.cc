#include "cllm/model/network.h"

#include <algorithm>
#include <utility>

#include "decoder.h"

namespace cllm::model {

Network::Network(const Layout& of) : layout(of) {
  make_decoder(*this);
  find_end_of_backward();
}

void Network::find_end_of_backward() {
  const auto is_trained = [&](std::size_t tensor) { return layout[tensor].is_trained; };
  const auto has_trained = [&](const std::unique_ptr<const Part>& part) {
    return std::ranges::any_of(part->vectors(), is_trained) ||
           std::ranges::any_of(part->matrices(), is_trained, &MatrixInput::tensor);
  };
  trains_embedding = layout.trains_table() || (layout.wpe() && is_trained(*layout.wpe()));
  bool is_reached = trains_embedding;
  const auto look_at = [&](Block& block) {
    for (Stage& stage : block.stages) {
      std::erase_if(stage.vectors, [&](std::size_t tensor) { return !is_trained(tensor); });
      if (is_reached) continue;
      const auto first = std::ranges::find_if(stage.parts, has_trained);
      stage.first_back = static_cast<std::size_t>(first - stage.parts.begin());
      is_reached = first != stage.parts.end();
    }
  };
  for (Block& layer : layers) {
    look_at(layer);
    if (!is_reached) ++first_back;
  }
  look_at(last);
}

void Block::add(std::unique_ptr<const Part> part) {
  const bool crosses_rows = part->crosses_rows();
  if (stages.empty() || crosses_rows || stages.back().crosses_rows) {
    stages.emplace_back().crosses_rows = crosses_rows;
  }
  Stage& stage = stages.back();
  stage.completes_gradients |= part->completes_gradients();
  const std::vector<std::size_t> vectors = part->vectors();
  stage.vectors.insert(stage.vectors.end(), vectors.begin(), vectors.end());
  stage.parts.push_back(std::move(part));
}

std::vector<MatrixInput> Network::matrices() const {
  std::vector<MatrixInput> all;
  const auto add = [&](const std::vector<MatrixInput>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const Block& layer : layers) {
    for (const Stage& stage : layer.stages) {
      for (const auto& part : stage.parts) add(part->matrices());
    }
  }
  add(head->matrices());
  return all;
}

}  // namespace cllm::model
