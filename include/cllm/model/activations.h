#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cllm::model {

/// What a workspace is for, and so what it keeps.
enum class Purpose {
  kTraining,    ///< what backward needs of every layer
  kEvaluation,  ///< nothing of a layer that is through
  kGeneration,  ///< keys and values of every layer
};

/// Names a buffer of activations, or of their gradients: an index into `Activations::buffers`.
using Buffer = std::size_t;

/// The buffers that a model's parts work in, declared as the parts are made: the one table from
/// which workspaces are laid out and their bytes counted. A buffer has a row for each position of a
/// micro-batch. A name that is declared again is the same buffer: so parts share what none of them
/// needs for long.
class Activations {
 public:
  enum class Kept {
    kBriefly,      ///< until the next part has read it
    kForBackward,  ///< of every layer that backward goes through; all others share one
    kStream,       ///< the same, but never computed again
    kKeysValues,   ///< the same, but of every layer where tokens are generated one by one
    kGradient,     ///< of backward alone
  };
  struct Declared {
    std::size_t columns;
    Kept kept;
    Buffer shared;   ///< the first of the name: where layers share one
    Buffer in_turn;  ///< that of two layers below: where two are used in turn; itself if none
    std::size_t layer;
  };

  /// What backward reads of a layer.
  Buffer keep(const std::string& name, std::size_t layer, std::size_t columns,
              Kept kept = Kept::kForBackward) {
    return declare(name, layer, columns, kept);
  }
  /// What is read before any other part writes it.
  Buffer pass(const std::string& name, std::size_t columns) {
    return declare(name, 0, columns, Kept::kBriefly);
  }
  /// A gradient that is read before any other part writes it.
  Buffer gradient(const std::string& name, std::size_t columns) {
    return declare(name, 0, columns, Kept::kGradient);
  }
  /// A gradient that weight gradients are computed of. While some threads of a team go on with the
  /// layer below, others still compute those of this layer: so there are two, used in turn.
  Buffer gradient_in_turn(const std::string& name, std::size_t layer, std::size_t columns) {
    return declare(name, layer % 2, columns, Kept::kGradient);
  }

  const std::vector<Declared>& buffers() const { return buffers_; }

 private:
  Buffer declare(const std::string& name, std::size_t layer, std::size_t columns, Kept kept) {
    const auto [entry, is_new] = found_.try_emplace({name, layer}, buffers_.size());
    if (is_new) {
      const auto first = first_.try_emplace(name, entry->second).first;
      const auto below = layer < 2 ? found_.end() : found_.find({name, layer - 2});
      const Buffer in_turn = below == found_.end() ? entry->second : below->second;
      buffers_.push_back({columns, kept, first->second, in_turn, layer});
    }
    return entry->second;
  }

  std::vector<Declared> buffers_;
  std::map<std::pair<std::string, std::size_t>, Buffer> found_;
  std::map<std::string, Buffer> first_;  // of each name
};

}  // namespace cllm::model
