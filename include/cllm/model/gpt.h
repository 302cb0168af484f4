#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/slab.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/layout.h"

namespace cllm::model {

/// A unit: sequences that go through forward and backward together. Views; the tokens live
/// elsewhere.
struct Unit {
  const std::uint32_t* inputs;   ///< (sequences, positions)
  const std::uint32_t* targets;  ///< (sequences, positions): the token that follows each input
  std::size_t sequences;
  std::size_t positions;  ///< at most the model's context

  std::size_t rows() const { return sequences * positions; }
};

/// The activations of one layer, for R = rows of the unit. Views into a Workspace.
struct LayerActivations {
  float* input;                   ///< (R, C): the residual stream that enters the layer
  float *ln_1, *mean_1, *rstd_1;  ///< (R, C), (R), (R)
  float* qkv;                     ///< (R, 3C): queries, keys, values
  float* log_sum_exp;             ///< (R, H) of the scores, a block of R per head
  float* attention;               ///< (R, C): heads side by side, before the projection
  float* middle;                  ///< (R, C): the residual stream between attention and MLP
  float *ln_2, *mean_2, *rstd_2;  ///< (R, C), (R), (R)
  float* fc;                      ///< (R, 4C): before GELU
  float* gelu;                    ///< (R, 4C)
};

/// What one thread needs to take units through the model, allocated once. Not thread-safe: a
/// workspace belongs to one thread at a time.
class Workspace {
 public:
  enum class Purpose { kTraining, kEvaluation };

  /// Room for units of up to `sequences` x `positions`. For evaluation all layers share one set of
  /// activations. Throws std::bad_alloc.
  Workspace(const ModelConfig& config, std::size_t sequences, std::size_t positions,
            Purpose purpose);

  std::size_t rows() const { return rows_; }
  Purpose purpose() const { return purpose_; }
  /// Rows of the head that are taken at a time, so that logits stay bounded whatever V and R are.
  std::size_t head_rows() const { return head_rows_; }
  /// Bytes that a workspace of these arguments allocates.
  static std::size_t bytes_for(const ModelConfig& config, std::size_t sequences,
                               std::size_t positions, Purpose purpose);

  std::vector<LayerActivations> layers;
  float* last;                    ///< (R, C): the residual stream after the last layer
  float *ln_f, *mean_f, *rstd_f;  ///< (R, C), (R), (R)
  float* branch;                  ///< (R, C): output of attention or MLP before it is added
  float* logits;                  ///< (head_rows, V)
  float* losses;                  ///< (R)
  float* scores;                  ///< (query block, T)
  float* dscores;                 ///< (query block, T)
  float* delta;                   ///< (query block)
  float* dresidual;               ///< (R, C)
  float* dhidden;                 ///< (R, 4C): also holds dqkv (R, 3C)
  float* dnorm;                   ///< (R, C)

 private:
  Workspace() = default;
  /// Points every view into `base`, or to nothing where it is null; returns the floats needed.
  std::size_t place(const ModelConfig& config, std::size_t positions, float* base);

  Slab<float> slab_;
  std::size_t rows_ = 0;
  Purpose purpose_ = Purpose::kTraining;
  std::size_t head_rows_ = 0;
};

/// The model as functions of parameters; holds no state but its layout. Thread-safe for distinct
/// workspaces and gradients.
class Gpt {
 public:
  Gpt(const ModelConfig& config, const kernels::Kernels& kernels)
      : layout_(config), kernels_(&kernels) {}

  const Layout& layout() const { return layout_; }

  /// Sum over the unit's positions of the cross-entropy, in nats.
  double loss(const float* parameters, const Unit& unit, Workspace& workspace) const;

  /// The same sum; adds the gradient of `scale` times that sum to `gradient`, a slab of the layout.
  /// The workspace is one for training.
  double loss_and_gradient(const float* parameters, const Unit& unit, float scale,
                           Workspace& workspace, float* gradient) const;

 private:
  void forward(const float* parameters, const Unit& unit, Workspace& w) const;
  double head(const float* parameters, const Unit& unit, Workspace& w) const;
  double head_backward(const float* parameters, const Unit& unit, float scale, Workspace& w,
                       float* gradient) const;
  void layer_backward(const float* parameters, std::size_t l, const Unit& unit, Workspace& w,
                      float* gradient) const;
  void embedding_backward(const Unit& unit, Workspace& w, float* gradient) const;

  const float* at(const float* slab, std::size_t tensor) const {
    return slab + layout_[tensor].offset;
  }
  float* at(float* slab, std::size_t tensor) const { return slab + layout_[tensor].offset; }

  Layout layout_;
  const kernels::Kernels* kernels_;
};

}  // namespace cllm::model
