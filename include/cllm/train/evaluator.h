#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cllm/data/token_file.h"
#include "cllm/model/model.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/loss_sum.h"
#include "cllm/train/metrics.h"
#include "cllm/train/window_micro_batches.h"

namespace cllm::train {

/// A text that is evaluated on.
struct EvaluatedText {
  std::string name;  ///< for people
  data::RowSource rows;
  double weight = 1;  ///< of its loss in that of all texts
  /// Where it is evaluated by rows of documents.
  std::shared_ptr<const data::DocumentRows> documents = nullptr;
};

/// Mean loss over the targets that count of fixed windows of texts: the same bits on any number of
/// ranks and threads.
class Evaluator {
 public:
  /// All ranks alike; `threads` of this rank. The references and the tokens must outlive it.
  /// `sequences` of each text, as in data::EvaluationWindows.
  Evaluator(const model::Model& model, const std::vector<EvaluatedText>& texts,
            std::uint64_t sequences, int threads, ranks::ProcessGroup& process_group);
  Evaluator(const model::Model& model, data::TokenView tokens, std::uint64_t sequences, int threads,
            ranks::ProcessGroup& process_group)
      : Evaluator(model, {{.name = "", .rows = {tokens}}}, sequences, threads, process_group) {}

  /// All ranks together. `parameters`, a flat buffer of the layout, is the same on all. Takes
  /// memory for as long as it goes on. Throws ReplicatedError.
  Evaluation evaluate(const float* parameters);

  /// The same apart by what is predicted: an evaluation for each class, over the targets t with
  /// class_of[t] == class < `classes`. class_of (V). A class without targets has a loss of NaN.
  std::vector<Evaluation> evaluate_by_target(const float* parameters,
                                             std::span<const std::uint8_t> class_of,
                                             std::size_t classes);

  /// Sequences of an evaluation, over all ranks; a last, shorter one counts whole.
  std::size_t sequences() const { return first_.back() * micro_batches_.front().shape().sequences; }

  /// Bytes that an evaluation on so many threads takes.
  static std::uint64_t bytes_for(const model::Network& network, int threads);

 private:
  struct Worker {
    model::Workspace workspace;
    model::Scratch scratch;
    WindowMicroBatches::Tokens tokens;
  };

  /// Takes this rank's micro-batches through the model, and gives all ranks the sums over all ranks
  /// of what add(sums, text, micro-batch, losses of its rows, their sum) adds for each.
  template <typename Add>
  std::vector<Evaluation> evaluate(const float* parameters, std::size_t sums, const Add& add);

  const model::Model& model_;
  std::vector<EvaluatedText> texts_;
  std::vector<WindowMicroBatches> micro_batches_;  // of each text
  std::vector<std::size_t> first_;                 // of each text's, and how many there are
  ranks::ProcessGroup& process_group_;
  std::size_t threads_;
};

}  // namespace cllm::train
