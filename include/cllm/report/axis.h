#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace cllm::report {

/// A place on an axis that has a number beside it.
struct Tick {
  double value;
  std::string text;
};

/// A range of numbers and where each of them is drawn. `low` < `high`, both finite; above 0 where
/// it is logarithmic.
struct Axis {
  double low = 0, high = 1;
  bool is_log = false;
  std::vector<Tick> ticks;  ///< ascending, in the range

  /// 0 at `low`, 1 at `high`; outside of them no further than one range.
  double at(double value) const;
};

/// An axis from `low` to `high`, ticks at multiples of 1, 2 or 5 times a power of ten, at most
/// about `most` of them. Where the two are the same, or not finite, some range around them. With
/// `rounds` the ends move outwards to the next ticks.
Axis linear_axis(double low, double high, std::size_t most, bool rounds);

/// The same in equal ratios, ticks at powers of ten, and between them where these are few.
Axis log_axis(double low, double high, std::size_t most);

}  // namespace cllm::report
