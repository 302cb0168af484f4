#include "cllm/data/mixture.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>

#include "cllm/base/error.h"

namespace cllm::data {
namespace {

constexpr std::size_t kDigits = 9;  // of kWeightUnit

/// The number that a text is, in units of 1e-9; none where it isn't a plain decimal number.
std::optional<std::uint64_t> weight_of(std::string_view text) {
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction = point == text.npos ? "" : text.substr(point + 1);
  if (whole.size() + fraction.size() == 0 || whole.size() > kDigits || fraction.size() > kDigits) {
    return {};
  }
  std::string digits(whole);
  digits += fraction;
  digits.append(kDigits - fraction.size(), '0');
  std::uint64_t value = 0;  // below 10^18
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return {};
    value = 10 * value + static_cast<std::uint64_t>(digit - '0');
  }
  return value;
}

bool exists(std::string_view path) {
  std::error_code unknown;
  return std::filesystem::exists(path, unknown);
}

/// floor(n * part / whole), of part <= whole.
std::uint64_t share_of(std::uint64_t n, std::uint64_t part, std::uint64_t whole) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(n) * part / whole);
}

}  // namespace

DataSource parse_data_source(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0) return {.path = std::string(text)};
  const std::string_view path = text.substr(0, colon);
  const std::optional<std::uint64_t> weight = weight_of(text.substr(colon + 1));
  const bool is_path = !weight || (path != "builtin" && exists(text) && !exists(path));
  if (is_path) return {.path = std::string(text)};
  if (*weight == 0) fail("give a weight above 0, or leave this source out");
  return {.path = std::string(path), .weight = *weight};
}

std::string to_string(const DataSource& source) {
  if (source.weight == 0) return source.path;
  std::string text = source.path + ":" + std::to_string(source.weight / kWeightUnit);
  std::string fraction = std::to_string(source.weight % kWeightUnit);
  fraction.insert(0, kDigits - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return fraction.empty() ? text : text + "." + fraction;
}

Mixture::Mixture(std::vector<std::uint64_t> parts)
    : parts_(std::move(parts)), rest_(parts_.size()), taken_(parts_.size()) {
  if (parts_.empty()) fail("a mixture needs a source");
  const auto divisor = std::accumulate(parts_.begin(), parts_.end(), std::uint64_t{0},
                                       std::gcd<std::uint64_t, std::uint64_t>);
  std::uint64_t sum = 0;
  for (std::size_t k = parts_.size(); k-- > 0;) {
    if (parts_[k] == 0) fail("a source of a mixture needs a share above 0");
    parts_[k] /= divisor;
    if (parts_[k] > std::numeric_limits<std::uint64_t>::max() - sum) {
      fail("the shares of a mixture are too large to add up; give smaller weights");
    }
    sum += parts_[k];
    rest_[k] = sum;
  }
}

Mixture::Mixture(std::vector<std::uint64_t> parts, std::uint64_t from,
                 std::vector<std::uint64_t> taken)
    : Mixture(std::move(parts)) {
  if (taken.size() != parts_.size()) fail("a mixture that goes on needs a count for each source");
  from_ = from;
  taken_ = std::move(taken);
}

Mixture::Place Mixture::operator[](std::uint64_t number) const {
  std::uint64_t n = number - from_;
  for (std::size_t k = 0;; ++k) {
    const std::uint64_t before = share_of(n, parts_[k], rest_[k]);
    const bool is_last = k + 1 == parts_.size();
    if (is_last || share_of(n + 1, parts_[k], rest_[k]) > before) {
      return {k, taken_[k] + before};
    }
    n -= before;
  }
}

std::vector<std::uint64_t> Mixture::taken(std::uint64_t number) const {
  std::vector<std::uint64_t> result = taken_;
  std::uint64_t n = number - from_;
  for (std::size_t k = 0; k < parts_.size(); ++k) {
    const std::uint64_t before = share_of(n, parts_[k], rest_[k]);
    result[k] += before;
    n -= before;
  }
  return result;
}

double Mixture::share(std::size_t source) const {
  return static_cast<double>(parts_[source]) / static_cast<double>(rest_.front());
}

}  // namespace cllm::data
