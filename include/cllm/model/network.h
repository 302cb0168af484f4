#pragma once

#include <memory>
#include <vector>

#include "cllm/model/activations.h"
#include "cllm/model/layout.h"
#include "cllm/model/ops/embedding.h"
#include "cllm/model/ops/lm_head.h"
#include "cllm/model/ops/part.h"

namespace cllm::model {

/// Parts that follow each other without a wait: row-wise ones, or one that crosses rows.
struct Stage {
  std::vector<std::unique_ptr<const Part>> parts;  ///< in the order of forward
  /// The tensors of theirs that are vectors and trained.
  std::vector<std::size_t> vectors;
  /// The first of the parts that backward goes through: nothing before it is trained.
  std::size_t first_back = 0;
  bool crosses_rows = false;
  bool completes_gradients = false;  ///< one of its parts does; see Part
};

/// Parts whose gradients become complete at about the same time, such as those of a layer.
struct Block {
  std::vector<Stage> stages;

  /// Behind the others.
  void add(std::unique_ptr<const Part> part);
};

/// A model as the list of its parts, and the buffers that they work in. Training and generation
/// walk the same list. Parts refer to tensors of `layout`, which must outlive it. Immutable once
/// made.
struct Network {
  explicit Network(const Layout& of);

  const Layout& layout;
  Activations activations;
  std::unique_ptr<const Embedding> embedding;
  std::vector<Block> layers;
  /// The first of them that backward goes through, in which it may end halfway: nothing in those
  /// before it is trained. Their number where it goes through none.
  std::size_t first_back = 0;
  /// Whether it goes on to the embedding.
  bool trains_embedding = true;
  Block last;  ///< between the last layer and the head
  std::unique_ptr<const LmHead> head;

  /// All matrices but the embeddings of tokens and positions where those are looked up.
  std::vector<MatrixInput> matrices() const;

 private:
  void find_end_of_backward();
};

}  // namespace cllm::model
