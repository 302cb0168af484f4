#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cllm::report {

/// How far a run is: what a curve can be drawn against.
struct Place {
  std::uint64_t step = 0;
  double tokens = 0;
  double seconds = 0;     ///< in steps and evaluations since the beginning
  double node_hours = 0;  ///< the same, times the hosts
};

struct Point {
  Place at;
  double value = 0;
};

/// Numbers by step in bounded memory, however many there are: steps fall into at most so many
/// buckets, and a bucket keeps its least and its greatest number, and the mean. As long as a run
/// has no more steps than that, all numbers are there. Not thread-safe.
class Curve {
 public:
  static constexpr std::size_t kBuckets = 1000;

  /// At most `most` buckets, of some 130 bytes each.
  explicit Curve(std::size_t most = kBuckets) : most_(most) {}

  /// `value` may be not finite, and is then left out. Steps may come in any order.
  void add(const Place& at, double value);

  bool empty() const { return !last_; }
  /// The least and the greatest number of each bucket, by step; at most about `most`, which may
  /// be less than two for each bucket.
  std::vector<Point> points(std::size_t most = 2 * kBuckets) const;
  /// The mean of each bucket, at its last place; at most about `most`.
  std::vector<Point> means(std::size_t most = kBuckets) const;
  /// What was added last, and the first of the least numbers.
  const std::optional<Point>& last() const { return last_; }
  const std::optional<Point>& least() const { return least_; }

 private:
  struct Bucket {
    Point least, greatest;
    Place last;
    double sum = 0;
    std::uint64_t count = 0;
  };

  static void merge(Bucket& into, const Bucket& other);
  std::vector<Bucket> merged(std::size_t most) const;
  void widen();

  std::size_t most_;
  std::uint64_t width_ = 1;  // steps of a bucket; a power of two
  std::vector<Bucket> buckets_;
  std::optional<Point> last_, least_;
};

}  // namespace cllm::report
