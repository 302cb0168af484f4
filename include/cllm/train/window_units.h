#pragma once

#include <cstddef>
#include <cstdint>

#include "cllm/base/slab.h"
#include "cllm/data/sampler.h"
#include "cllm/data/token_file.h"
#include "cllm/model/workspace.h"

namespace cllm::train {

/// The fixed windows of a text, in units that go through the model together: what is computed is
/// the same for any number of ranks and threads. Immutable, so thread-safe; the tokens must outlive
/// it.
class WindowUnits {
 public:
  /// Room for the tokens of one unit.
  struct Tokens {
    Slab<std::uint32_t> inputs;   ///< (sequences, T)
    Slab<std::uint32_t> targets;  ///< (sequences, T)
  };

  /// `sequences` as in data::EvaluationWindows, whose errors it throws.
  WindowUnits(data::TokenView tokens, std::size_t context, std::uint64_t sequences);

  /// How many units there are.
  std::size_t size() const;
  /// Windows of unit `unit`, which all have the same length; the unit is a view of `room`.
  model::Unit read(std::size_t unit, Tokens& room) const;
  Tokens make_room() const;
  /// The largest unit.
  model::UnitShape shape() const { return shape_of(context_); }
  static model::UnitShape shape_of(std::size_t context);

 private:
  data::TokenView tokens_;
  std::size_t context_;
  data::EvaluationWindows windows_;
  std::size_t full_windows_;  // all but a shorter last one
};

}  // namespace cllm::train
