#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "cllm/kernels/blas.h"
#include "cllm/model/gpt.h"

namespace cllm::support {

/// The plain sink: adds to a slab of floats of the layout. Threads of a team may call it at once.
class SlabSink final : public model::GradientSink {
 public:
  SlabSink(const model::Gpt& gpt, float* slab) : gpt_(gpt), slab_(slab) {}

  void add(std::size_t tile_index, std::size_t, const float* values, std::size_t stride,
           Recorder&) override {
    const model::Tile& tile = gpt_.tiling()[tile_index];
    const model::Tensor& tensor = gpt_.layout()[tile.tensor];
    const std::size_t width = tensor.is_matrix ? tensor.columns : tensor.size();
    float* to = slab_ + tensor.offset + tile.row * width + tile.column;
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (std::size_t i = 0; i < tile.columns; ++i)
        to[row * width + i] += values[row * stride + i];
    }
  }
  void begin_tokens(std::size_t, Recorder&) override {}
  void add_token(std::uint32_t token, const float* row) override {
    const model::Tensor& table = gpt_.layout()[gpt_.layout().table()];
    float* to = slab_ + table.offset + token * table.columns;
    for (std::size_t i = 0; i < table.columns; ++i) to[i] += row[i];
  }
  void end_tokens(std::size_t) override {}

 private:
  const model::Gpt& gpt_;
  float* slab_;
};

/// A model's workspace with the scratch of each thread of a team.
class TrainingRoom {
 public:
  TrainingRoom(const model::Gpt& gpt, const model::UnitShape& shape, int team = 1)
      : gpt_(gpt),
        workspace_(gpt.layout().config(), shape, model::Purpose::kTraining),
        team_(team) {
    for (int i = 0; i < team; ++i) {
      scratches_.emplace_back(shape.positions, gpt.tiling().scratch(), model::Purpose::kTraining);
    }
  }

  /// Loss of the unit; adds its gradient times `scale` to the slab.
  double loss_and_gradient(const float* parameters, const model::Unit& unit, float scale,
                           float* gradient) {
    SlabSink sink(gpt_, gradient);
    std::vector<double> losses(scratches_.size());
    std::vector<std::thread> threads;
    const auto take = [&](std::size_t i) {
      kernels::prepare_blas(static_cast<int>(scratches_.size()));
      Recorder recorder;
      const Member member{team_, static_cast<int>(i), recorder};
      losses[i] =
          gpt_.loss_and_gradient(parameters, unit, scale, workspace_, scratches_[i], sink, member);
    };
    for (std::size_t i = 1; i < scratches_.size(); ++i) threads.emplace_back(take, i);
    take(0);
    for (std::thread& thread : threads) thread.join();
    return losses[0];
  }

 private:
  const model::Gpt& gpt_;
  model::Workspace workspace_;
  Team team_;
  std::vector<model::Scratch> scratches_;
};

}  // namespace cllm::support
