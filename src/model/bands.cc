#include "cllm/model/bands.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "cllm/base/error.h"

namespace cllm::model {
namespace {

constexpr std::string_view kRest = "rest";

std::optional<std::size_t> positive_number(std::string_view text) {
  std::size_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || stop != end || number == 0) return std::nullopt;
  return number;
}

/// Rows of bands that say how many they have. Saturates, so that no list of bands wraps around.
std::size_t rows_of(const EmbeddingBands& bands) {
  std::size_t rows = 0;
  for (const EmbeddingBand& band : bands.all()) {
    rows = band.rows > ~rows ? ~std::size_t{0} : rows + band.rows;
  }
  return rows;
}

}  // namespace

EmbeddingBands bands_of(std::string_view text) {
  EmbeddingBands bands;
  for (bool is_last = false; !is_last;) {
    const std::size_t comma = std::min(text.find(','), text.size());
    is_last = comma == text.size();
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(is_last ? comma : comma + 1);
    const std::size_t colon = std::min(part.find(':'), part.size());
    const bool is_rest = is_last && part.substr(0, colon) == kRest;
    const auto rows = positive_number(part.substr(0, colon));
    const auto rank = positive_number(part.substr(std::min(colon + 1, part.size())));
    if ((!rows && !is_rest) || !rank) {
      fail("give rows and rank of each band, such as 2048:192,rest:96");
    }
    if (bands.count == EmbeddingBands::kMost) fail("give at most {} bands", EmbeddingBands::kMost);
    bands.bands[bands.count++] = {rows.value_or(0), *rank};
  }
  return bands;
}

std::string text_of(const EmbeddingBands& bands) {
  std::string text;
  for (const EmbeddingBand& band : bands.all()) {
    text +=
        fmt::format("{}{}:{}", text.empty() ? "" : ",",
                    band.rows == 0 ? std::string(kRest) : fmt::format("{}", band.rows), band.rank);
  }
  return text;
}

EmbeddingBands with_rows(EmbeddingBands bands, std::size_t vocabulary) {
  if (bands.count == 0) return bands;
  EmbeddingBand& last = bands.bands[bands.count - 1];
  const std::size_t others = rows_of(bands);
  if (last.rows == 0 && others < vocabulary) last.rows = vocabulary - others;
  return bands;
}

void validate(const EmbeddingBands& given, std::size_t vocabulary, std::size_t channels) {
  if (given.count == 0) return;
  const EmbeddingBands bands = with_rows(given, vocabulary);
  const std::string text = text_of(given);
  for (const EmbeddingBand& band : bands.all()) {
    if (band.rank == 0 || band.rank > channels) {
      fail("--embedding-bands {}: give each band a rank from 1 to the {} of --channels", text,
           channels);
    }
  }
  const bool has_all = std::ranges::all_of(bands.all(), [](const auto& b) { return b.rows > 0; });
  if (!has_all || rows_of(bands) != vocabulary) {
    fail(
        "--embedding-bands {}: the vocabulary has {} tokens; give bands of so many rows, or rest "
        "for those of the last one",
        text, vocabulary);
  }
}

EmbeddingBands usual_bands(std::size_t vocabulary, std::size_t channels) {
  // The square around the spiral's centre with sides of 2k - 1 is full where a shell ends.
  std::size_t side = 1;
  while ((side + 2) * (side + 2) <= vocabulary / 6) side += 2;
  EmbeddingBands bands;
  bands.count = 2;
  bands.bands[0] = {side * side, channels};
  bands.bands[1] = {vocabulary - std::min(vocabulary, side * side), channels / 2};
  const auto dense = static_cast<double>(vocabulary * channels);
  const bool is_small = bands.bands[1].rows == 0 || channels < 2 ||
                        static_cast<double>(weights_of(bands.all(), channels)) > dense * 2 / 3;
  if (is_small) {
    fail(
        "--embedding-bands auto: a vocabulary of {} tokens is too small for bands beside {} "
        "channels; leave the option out, or say which bands",
        vocabulary, channels);
  }
  return bands;
}

std::size_t weights_of(std::span<const EmbeddingBand> bands, std::size_t channels) {
  std::size_t weights = 0;
  for (const EmbeddingBand& band : bands) {
    weights += band.rows * band.rank + (band.rank < channels ? band.rank * channels : 0);
  }
  return weights;
}

}  // namespace cllm::model
