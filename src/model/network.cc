#include "cllm/model/network.h"

#include <utility>

#include "decoder.h"

namespace cllm::model {

Network::Network(const Layout& of) : layout(of) { make_decoder(*this); }

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
