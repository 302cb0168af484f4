#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace cllm::model {

/// Rows of the token embedding that have one rank.
struct EmbeddingBand {
  std::size_t rows = 0;  ///< 0 of the last: all that are left
  std::size_t rank = 0;  ///< r: codes (rows, r) and a basis (r, C); C: one matrix (rows, C)
  bool operator==(const EmbeddingBand&) const = default;
};

/// Bands of frequency (docs/lattice.md): rows of the token embedding stand in the order of their
/// tokens' frequency, and each band of them has a rank of its own. None: rows are tokens.
struct EmbeddingBands {
  static constexpr std::size_t kMost = 8;

  std::array<EmbeddingBand, kMost> bands = {};
  std::size_t count = 0;

  std::span<const EmbeddingBand> all() const { return {bands.data(), count}; }
  bool operator==(const EmbeddingBands&) const = default;
};

/// The bands that "2048:192,rest:96" says: of each its rows and its rank. Throws Error, a clause
/// that says what to give.
EmbeddingBands bands_of(std::string_view text);

/// That text; empty of none.
std::string text_of(const EmbeddingBands& bands);

/// The bands with their rows in numbers, of a vocabulary that they fit; else as they are.
EmbeddingBands with_rows(EmbeddingBands bands, std::size_t vocabulary);

/// Throws Error, naming the option, unless the bands are of this vocabulary and no rank is larger
/// than the channels.
void validate(const EmbeddingBands& bands, std::size_t vocabulary, std::size_t channels);

/// Two bands: rank C for the shells of the Ulam spiral that have at most a sixth of the tokens, and
/// half of that for all others. So about 0.4 of the table is gone. Throws Error, naming the option,
/// where it would be less than a third.
EmbeddingBands usual_bands(std::size_t vocabulary, std::size_t channels);

/// Numbers that a table of these bands has, its bases included.
std::size_t weights_of(std::span<const EmbeddingBand> bands, std::size_t channels);

}  // namespace cllm::model
