#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "cllm/kernels/blas.h"
#include "cllm/model/model.h"

namespace cllm::support {

/// The plain sink: adds to a flat buffer of floats of the layout. Threads of a team may call it at
/// once.
class FlatSink final : public model::GradientSink {
 public:
  FlatSink(const model::Model& model, float* buffer) : model_(model), buffer_(buffer) {}

  void add(std::size_t tile_index, std::size_t, const float* values, std::size_t stride,
           Recorder&) override {
    const model::Tile& tile = model_.tiling()[tile_index];
    const model::Tensor& tensor = model_.layout()[tile.tensor];
    const std::size_t width = tensor.is_matrix() ? tensor.columns : tensor.size();
    float* to = buffer_ + tensor.offset + tile.row * width + tile.column;
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (std::size_t i = 0; i < tile.columns; ++i)
        to[row * width + i] += values[row * stride + i];
    }
  }
  void begin_tokens(std::size_t, Recorder&) override {}
  void add_token(std::uint32_t token, const float* row) override {
    const model::TableBand& band = model_.layout().band_of(token);
    const model::Tensor& table = model_.layout()[band.tensor];
    float* to = buffer_ + table.offset + (token - band.first_row) * table.columns;
    for (std::size_t i = 0; i < table.columns; ++i) to[i] += row[i];
  }
  void end_tokens(std::size_t) override {}

 private:
  const model::Model& model_;
  float* buffer_;
};

/// A model's workspace with the scratch of each thread of a team.
class TrainingRoom {
 public:
  TrainingRoom(const model::Model& model, const model::MicroBatchShape& shape, int team = 1,
               std::size_t recomputed = 0)
      : model_(model),
        workspace_(model.network(), shape, model::Purpose::kTraining, recomputed),
        team_(team) {
    for (int i = 0; i < team; ++i) {
      scratches_.emplace_back(model.layout().config(), model.tiling().largest());
    }
  }

  /// Loss of the micro-batch; adds its gradient times `scale` to the flat buffer.
  double loss_and_gradient(const float* parameters, const model::MicroBatch& micro_batch,
                           float scale, float* gradient) {
    FlatSink sink(model_, gradient);
    std::vector<double> losses(scratches_.size());
    std::vector<std::thread> threads;
    const auto take = [&](std::size_t i) {
      kernels::prepare_blas(static_cast<int>(scratches_.size()));
      Recorder recorder;
      const Member member{team_, static_cast<int>(i), recorder};
      losses[i] = model_.loss_and_gradient(parameters, micro_batch, scale, workspace_,
                                           scratches_[i], sink, member);
    };
    for (std::size_t i = 1; i < scratches_.size(); ++i) threads.emplace_back(take, i);
    take(0);
    for (std::thread& thread : threads) thread.join();
    return losses[0];
  }

 private:
  const model::Model& model_;
  model::Workspace workspace_;
  Team team_;
  std::vector<model::Scratch> scratches_;
};

}  // namespace cllm::support
