#include "cllm/model/workspace.h"

#include <algorithm>

#include "cllm/model/attention_head.h"
#include "cllm/model/layout.h"

namespace cllm::model {
namespace {

/// Floats of logits that a workspace holds at most: as many rows as make BLAS fast, small beside
/// the activations of a model with that vocabulary.
constexpr std::size_t kLogitFloats = std::size_t{32} << 20;

/// The micro-batch's rows in passes of equal size, as few as memory allows.
std::size_t rows_of_head(std::size_t rows, std::size_t vocabulary) {
  const std::size_t fitting = std::max<std::size_t>(kLogitFloats / vocabulary / 32 * 32, 32);
  const std::size_t passes = (rows + fitting - 1) / fitting;
  return std::min(rows, ((rows + passes - 1) / passes + 31) / 32 * 32);
}

/// Hands out aligned pieces of a flat buffer: first counts them, then places them.
class Carver {
 public:
  explicit Carver(float* base) : base_(base) {}
  float* take(std::size_t size) {
    float* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (size + 15) / 16 * 16;
    return piece;
  }
  std::size_t used() const { return used_; }

 private:
  float* base_;
  std::size_t used_ = 0;
};

}  // namespace

Workspace::Workspace(const ModelConfig& config, const MicroBatchShape& shape, Purpose purpose)
    : shape_(shape), purpose_(purpose), head_rows_(rows_of_head(shape.rows(), config.vocabulary)) {
  buffer_ = AlignedBuffer<float>(place(config, nullptr));
  place(config, buffer_.data());
  if (purpose == Purpose::kTraining) order_ = AlignedBuffer<std::uint64_t>(shape.rows());
  token_order = order_.data();
}

std::size_t Workspace::head_passes(const ModelConfig& config, std::size_t rows,
                                   std::size_t micro_batch_rows) {
  const std::size_t each = rows_of_head(rows, config.vocabulary);
  return (micro_batch_rows + each - 1) / each;
}

std::size_t Workspace::head_block() const {
  const std::size_t blocks = (rows() + token_block() - 1) / token_block();
  return ((head_rows_ + blocks - 1) / blocks + 15) / 16 * 16;
}

std::size_t Workspace::bytes_for(const ModelConfig& config, const MicroBatchShape& shape,
                                 Purpose purpose) {
  Workspace sketch;
  sketch.shape_ = shape;
  sketch.purpose_ = purpose;
  sketch.head_rows_ = rows_of_head(shape.rows(), config.vocabulary);
  const std::size_t order =
      purpose == Purpose::kTraining ? shape.rows() * sizeof(std::uint64_t) : 0;
  return sketch.place(config, nullptr) * sizeof(float) + order;
}

std::size_t Workspace::place(const ModelConfig& config, float* base) {
  const bool training = purpose_ == Purpose::kTraining;
  const std::size_t r = rows(), c = config.channels;
  const std::size_t blocks = (r + token_block() - 1) / token_block();
  Carver carve(base);
  layers.assign(config.layers, {});
  for (std::size_t l = 0; l < config.layers; ++l) {
    if (!training && l > 0) {
      layers[l] = layers[0];
      continue;
    }
    LayerActivations& a = layers[l];
    a.input = carve.take(r * c);
    a.ln_1 = carve.take(r * c);
    a.mean_1 = carve.take(r);
    a.rstd_1 = carve.take(r);
    a.qkv = carve.take(r * 3 * c);
    a.log_sum_exp = carve.take(r * config.heads);
    a.attention = carve.take(r * c);
    a.middle = carve.take(r * c);
    a.ln_2 = carve.take(r * c);
    a.mean_2 = carve.take(r);
    a.rstd_2 = carve.take(r);
    a.fc = carve.take(r * 4 * c);
    a.gelu = carve.take(r * 4 * c);
  }
  last = training ? carve.take(r * c) : layers[0].input;
  ln_f = training ? carve.take(r * c) : layers[0].ln_1;
  mean_f = carve.take(r);
  rstd_f = carve.take(r);
  branch = carve.take(r * c);
  const bool reduced = config.is_factorised();
  const std::size_t width = config.embedding_width();
  codes = reduced ? carve.take(r * width) : nullptr;
  projected = reduced ? carve.take(r * width) : ln_f;
  logits = carve.take(head_rows_ * config.vocabulary);
  losses = carve.take(r);
  for (std::size_t turn = 0; turn < 2; ++turn) {
    dresidual[turn] = training ? carve.take(r * c) : nullptr;
    dmiddle[turn] = training ? carve.take(r * c) : nullptr;
    dhidden[turn] = training ? carve.take(r * 4 * c) : nullptr;
  }
  dqkv = training ? carve.take(r * 3 * c) : nullptr;
  dnorm = training ? carve.take(r * c) : nullptr;
  dprojected = training && reduced ? carve.take(r * width) : dnorm;
  dtable_rows = training && reduced ? carve.take(r * width) : dresidual[0];
  vectors = training ? carve.take((config.layers + 1) * blocks * kLayerVectors * c) : nullptr;
  return carve.used();
}

Scratch::Scratch(std::size_t positions, std::size_t tile_floats, Purpose purpose) {
  buffer_ = AlignedBuffer<float>(place(positions, tile_floats, purpose, nullptr));
  place(positions, tile_floats, purpose, buffer_.data());
}

std::size_t Scratch::bytes_for(std::size_t positions, std::size_t tile_floats, Purpose purpose) {
  return Scratch().place(positions, tile_floats, purpose, nullptr) * sizeof(float);
}

std::size_t Scratch::place(std::size_t positions, std::size_t tile_floats, Purpose purpose,
                           float* base) {
  const bool training = purpose == Purpose::kTraining;
  const std::size_t queries = std::min(kQueryBlock, positions);
  Carver carve(base);
  scores = carve.take(queries * positions);
  dscores = training ? carve.take(queries * positions) : nullptr;
  delta = training ? carve.take(queries) : nullptr;
  tile = training ? carve.take(tile_floats) : nullptr;
  return carve.used();
}

}  // namespace cllm::model
