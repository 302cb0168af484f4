#include "cllm/report/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "cllm/report/text.h"

namespace cllm::report {
namespace {

/// The least of 1, 2 and 5 times a power of ten that is at least `rough`.
double nice_step(double rough) {
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

/// A number with the decimals that a step needs.
std::string tick_text(double value, double step) {
  const double size = std::max(std::abs(value), step);
  if (value == 0 && step >= 1) return "0";
  if (size >= 1e9) return fmt::format("{:.4g}G", value / 1e9);
  if (size >= 1e6) return fmt::format("{:.4g}M", value / 1e6);
  if (size >= 1e5 && step >= 100) return fmt::format("{:.4g}k", value / 1e3);
  if (step < 1e-4) return value == 0 ? "0" : fmt::format("{:.3g}", value);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return decimal_text(value, decimals);
}

}  // namespace

double Axis::at(double value) const {
  if (is_log) {
    const double part =
        (std::log(std::max(value, low * 1e-3)) - std::log(low)) / (std::log(high) - std::log(low));
    return std::clamp(part, -1.0, 2.0);
  }
  return std::clamp((value - low) / (high - low), -1.0, 2.0);
}

Axis linear_axis(double low, double high, std::size_t most, bool rounds) {
  if (!std::isfinite(low) || !std::isfinite(high)) low = 0, high = 1;
  low = std::clamp(low, -1e300, 1e300);
  high = std::clamp(high, -1e300, 1e300);
  if (low > high) std::swap(low, high);
  if (!(high - low > 1e-9 * std::max(std::abs(low), std::abs(high)))) {
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= low == 0 ? 0 : room;
    high += room;
  }
  const double step = nice_step((high - low) / static_cast<double>(std::max<std::size_t>(most, 2)));
  if (rounds) {
    low = std::floor(low / step + 1e-9) * step;
    high = std::ceil(high / step - 1e-9) * step;
  }
  Axis axis{.low = low, .high = high, .is_log = false, .ticks = {}};
  const double first = std::ceil(low / step - 1e-9);
  for (double i = first; i * step <= high + 1e-9 * step && axis.ticks.size() <= 2 * most; ++i) {
    const double value = i * step + 0.0;  // no "-0"
    axis.ticks.push_back({value, tick_text(value, step)});
  }
  return axis;
}

Axis log_axis(double low, double high, std::size_t most) {
  if (!(low > 0) || !std::isfinite(low) || !std::isfinite(high)) low = 1, high = 10;
  low = std::clamp(low, 1e-300, 1e300);
  high = std::clamp(high, low * 1.5, 1e301);
  const double first = std::floor(std::log10(low)), last = std::ceil(std::log10(high));
  const double decades = std::log10(high) - std::log10(low);
  const bool has_few = decades * 3 <= static_cast<double>(most);
  if (has_few) {
    // To the next numbers that have a tick, so that there are at least two.
    low = 1 / nice_step(1 / low);
    high = nice_step(high);
  }
  Axis axis{.low = low, .high = high, .is_log = true, .ticks = {}};
  const double every = std::max(1.0, std::ceil(decades / static_cast<double>(most)));
  for (double exponent = first; exponent <= last; exponent += every) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor > 1 && !has_few) continue;
      const double value = factor * std::pow(10, exponent);
      if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      axis.ticks.push_back({value, number_text(value)});
    }
  }
  return axis;
}

}  // namespace cllm::report
