#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cllm::data {

/// One source of a mixture, as it is asked for.
struct DataSource {
  std::string path;          ///< as `DataOptions::data`
  std::uint64_t weight = 0;  ///< in units of 1e-9; 0: none is given
};

/// The units of `DataSource::weight` in a weight of 1.
inline constexpr std::uint64_t kWeightUnit = 1'000'000'000;

/// Reads PATH or PATH:WEIGHT. What stands behind the last colon is a weight where it is a decimal
/// number (of at most 9 digits before and behind the point); but where the whole text is the name
/// of a file, and what stands before the colon is not, it is a path. Throws Error for a weight of
/// 0.
DataSource parse_data_source(std::string_view text);
/// The same as text: `parse_data_source` of it is the source again.
std::string to_string(const DataSource& source);

/// Which source each sequence of a run comes from, and which of that source's sequences it is: a
/// pure function of the sequence's number, so the same on any number of ranks, and nothing has to
/// be replayed. Immutable and thread-safe.
///
/// Note [Mixtures]. A share is a whole number of parts of their sum, and all is integers. Of n
/// sequences that come to source k (all of them to the first), the source has floor(n p), where p
/// is its share among the sources from k on; the rest goes on to the next source. As floor(n p)
/// grows by at most 1 with n, each sequence has one source, and each source reads its own sequences
/// in order, without gaps. After n sequences a source has had its share of n but for less than the
/// number of sources, and that share exactly where n is a multiple of the sum of parts.
class Mixture {
 public:
  /// `parts`: of each source, above 0. Throws Error where there are none, or they are too large to
  /// add up.
  explicit Mixture(std::vector<std::uint64_t> parts);
  /// The mixture from sequence `from` on, of sources of which `taken` sequences were read before.
  Mixture(std::vector<std::uint64_t> parts, std::uint64_t from, std::vector<std::uint64_t> taken);

  struct Place {
    std::size_t source;
    std::uint64_t index;  ///< among the source's sequences
  };
  /// Of sequence `number` >= from().
  Place operator[](std::uint64_t number) const;
  /// How many sequences of each source come before sequence `number` >= from().
  std::vector<std::uint64_t> taken(std::uint64_t number) const;

  std::size_t size() const { return parts_.size(); }
  /// In lowest terms.
  const std::vector<std::uint64_t>& parts() const { return parts_; }
  double share(std::size_t source) const;
  std::uint64_t from() const { return from_; }

 private:
  std::vector<std::uint64_t> parts_;
  std::vector<std::uint64_t> rest_;  // of each source: its parts and those of the sources behind it
  std::uint64_t from_ = 0;
  std::vector<std::uint64_t> taken_;
};

}  // namespace cllm::data
