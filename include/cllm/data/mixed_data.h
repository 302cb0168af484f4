#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/data/dataset.h"
#include "cllm/data/mixture.h"

namespace cllm::data {

/// Sources that are trained on together, as one rank prepared them.
struct PreparedMixture {
  std::vector<std::string> names;      ///< of the sources, as they were given
  std::vector<PreparedData> sources;   ///< all with one vocabulary and one tokenizer
  std::vector<std::uint64_t> parts;    ///< shares of the sources (Note [Mixtures])
  bool has_weights = false;            ///< else the shares are by the sources' training tokens
  bool has_validation_of_own = false;  ///< one text validates, and all sources have it

  /// Changes when any token, or a share, does; of one source, that of its data.
  std::string digest() const;
  /// Bytes to broadcast, and back. `parse` throws Error where they were not made by `serialize`.
  std::string serialize() const;
  static PreparedMixture parse(std::string_view bytes);
};

/// `prepare_data` of each source, with one tokenizer for all: that of the token files among them,
/// or a new one, which is trained on the training parts of all texts. `options.data` is not used.
/// Without weights a source's share is that of its tokens, as if all were one file. Throws Error,
/// also where a source stands twice, or some have a weight and others none.
PreparedMixture prepare_mixture(const std::vector<DataSource>& sources, const DataOptions& options,
                                const Progress& progress = {});

/// What a rank trains with, of several sources. Reading is thread-safe.
struct MixedData {
  std::vector<std::string> names;
  std::vector<Dataset> sources;
  std::vector<std::uint64_t> parts;
  bool has_weights = false;
  bool has_validation_of_own = false;

  std::uint64_t vocabulary() const { return sources.front().vocabulary; }
  /// Null where unknown.
  const Tokenizer* tokenizer() const { return sources.front().tokenizer.get(); }
  /// Of all training parts.
  std::uint64_t training_tokens() const;
  /// The sources whose validation parts are evaluated: all, or the first where it stands for all.
  std::size_t validated() const { return has_validation_of_own ? 1 : sources.size(); }
};

/// Opens what `prepare_mixture` made; any rank may. Throws what `open_dataset` throws.
MixedData open_mixture(const PreparedMixture& prepared, int threads = 1);

}  // namespace cllm::data
