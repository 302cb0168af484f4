#include <algorithm>
#include <utility>

#include "cllm/model/attention.h"
#include "cllm/model/gpt.h"

namespace cllm::model {
namespace {

/// Floats of logits that a workspace holds at most: enough rows for BLAS to be fast, small beside
/// the activations of a model with that vocabulary.
constexpr std::size_t kLogitFloats = std::size_t{16} << 20;

std::size_t rows_of_head(std::size_t rows, std::size_t vocabulary) {
  const std::size_t fitting = std::max<std::size_t>(kLogitFloats / vocabulary / 32 * 32, 32);
  return std::min(rows, fitting);
}

/// Hands out aligned pieces of a slab: first counts them, then places them.
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

Workspace::Workspace(const ModelConfig& config, std::size_t sequences, std::size_t positions,
                     Purpose purpose)
    : rows_(sequences * positions),
      purpose_(purpose),
      head_rows_(rows_of_head(rows_, config.vocabulary)) {
  slab_ = Slab<float>(place(config, positions, nullptr));
  place(config, positions, slab_.data());
}

std::size_t Workspace::bytes_for(const ModelConfig& config, std::size_t sequences,
                                 std::size_t positions, Purpose purpose) {
  Workspace sketch;
  sketch.rows_ = sequences * positions;
  sketch.purpose_ = purpose;
  sketch.head_rows_ = rows_of_head(sketch.rows_, config.vocabulary);
  return sketch.place(config, positions, nullptr) * sizeof(float);
}

std::size_t Workspace::place(const ModelConfig& config, std::size_t positions, float* base) {
  const bool training = purpose_ == Purpose::kTraining;
  const std::size_t r = rows_, c = config.channels;
  const std::size_t queries = std::min(kQueryBlock, positions);
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
  logits = carve.take(head_rows_ * config.vocabulary);
  losses = carve.take(r);
  scores = carve.take(queries * positions);
  dscores = training ? carve.take(queries * positions) : nullptr;
  delta = training ? carve.take(queries) : nullptr;
  dresidual = training ? carve.take(r * c) : nullptr;
  dhidden = training ? carve.take(r * 4 * c) : nullptr;
  dnorm = training ? carve.take(r * c) : nullptr;
  return carve.used();
}

}  // namespace cllm::model
