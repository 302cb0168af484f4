#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/gradient_norm.h"
#include "cllm/train/group_norms.h"
#include "cllm/train/orthogonalise.h"
#include "cllm/train/ownership.h"
#include "cllm/train/state.h"

namespace cllm::train {

/// Of all optimizers; each takes what it knows.
struct OptimizerOptions {
  std::string name = "adamw";  ///< see find_optimizer
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double muon_momentum = 0.95;  ///< after its warm-up: see Muon
  Iteration muon_iteration = Iteration::kNewtonSchulz;
  double weight_decay = 0.1;  ///< of matrices; vectors don't decay
  double embedding_learning_rate =
      1.0;  ///< learning rate of the token embedding (its codes), as a factor
  bool scales_with_width = false;  ///< see Note [Width]
  double clip = 1.0;               ///< the most that the gradient's norm may be; 0 for no limit
};

/// Throws Error, naming the option, for values that make no sense.
void validate(const OptimizerOptions& options);

/// What an optimizer works with.
struct OptimizerParts {
  const model::Layout& layout;
  const RowChunks& rows;  ///< of the layout
  const kernels::Kernels& kernels;
  ThreadPool& pool;
  ranks::ProcessGroup& process_group;
  const Ownership& ownership;
  GroupNorms* norms = nullptr;  ///< sees every change of a parameter; null: nobody asks

  /// What changes parameters of a row, as GroupNorms::watch has it.
  template <typename Update>
  void change(const SumRow& row, const float* parameters, std::size_t count,
              const Update& update) const {
    if (norms == nullptr) return update(std::size_t{0}, count);
    norms->watch(row, parameters, count, update);
  }
};

/// Takes the steps, on all ranks alike: it alone knows what the buffers are that it declares.
/// Results are the same bits for any number of threads and ranks. Allocates nothing after
/// construction.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One step with `learning_rate` and the gradient times `scale`, of what this rank owns; integers
  /// were settled by GradientNorm. `state` has the buffers of this optimizer; `state.updates` is
  /// the number of steps that were taken before.
  virtual void update(const SummedGradient& gradient, double learning_rate, double scale,
                      State& state) = 0;

  /// Seconds of the last update in which it waited for other ranks, and those in which it
  /// communicated while it went on.
  struct Communication {
    double exposed = 0, hidden = 0;
  };
  virtual Communication communication() const { return {}; }
};

/// An optimizer that there is.
struct OptimizerKind {
  std::string_view name;
  std::span<const BufferSpec> buffers;
  /// Whether it takes the matrices between activations of a role whole: see Ownership.
  bool (*keeps_whole)(model::Role);
  /// Bytes that it allocates to work in, beside the buffers, with so many threads of this rank.
  std::uint64_t (*work_bytes)(const model::Layout& layout, int threads, const Ownership& ownership,
                              const ranks::ProcessGroup& process_group);
  /// The references in the parts must outlive what is made.
  std::unique_ptr<Optimizer> (*make)(const OptimizerParts& parts, const OptimizerOptions& options);
};

/// Throws Error, naming --optimizer, for an unknown name.
const OptimizerKind& find_optimizer(std::string_view name);

}  // namespace cllm::train
