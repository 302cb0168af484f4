#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "cllm/base/crew.h"
#include "cllm/cli/origin.h"
#include "cllm/cli/settings.h"
#include "cllm/data/dataset.h"
#include "cllm/kernels/kernels.h"
#include "cllm/lattice/certificate.h"
#include "cllm/model/layout.h"
#include "cllm/train/collective.h"

namespace cllm::cli {

/// How a run's token table came about: what its checkpoints carry on.
struct TableHistory {
  std::string facts = "{}";                     ///< a JSON object; see docs/checkpoint_format.md
  std::optional<lattice::Certificate> lattice;  ///< on rank 0, where codes started in one
};

/// Of the table in the origin's checkpoint. Throws Error.
TableHistory table_history(const Origin& origin);

/// What goes into the start of a token table.
struct TableStart {
  const TrainSettings& settings;
  const data::Dataset& data;
  std::filesystem::path cache;  ///< directory for what the corpus says
  const kernels::Kernels& kernels;
  const model::Layout& layout;
  Crew& crew;
  std::uint64_t ranks_here;                     ///< of this host, which share its memory
  std::function<void(const std::string&)> say;  ///< on rank 0
};

/// Puts the token table of a new run where --embedding-init wants it; `parameters`, a slab of the
/// layout, have been initialised. All ranks call it; all get rank 0's bits, and memory is that of
/// `train::corpus_vectors`. Throws Error, on all ranks alike.
TableHistory start_table(const TableStart& start, train::Collective& collective,
                         std::span<float> parameters);

}  // namespace cllm::cli
