#include "cllm/train/spike_detector.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cllm/base/error.h"

namespace cllm::train {

SpikeDetector::SpikeDetector(double factor) : factor_(factor) {
  if (!(factor == 0 || factor > 1) || !std::isfinite(factor)) {
    fail("--spike-factor {}: give a number above 1, or 0 to look for infinite gradients alone",
         factor);
  }
}

Health SpikeDetector::judge(double loss, double norm, const std::vector<double>& recent) const {
  if (!std::isfinite(loss) || !std::isfinite(norm)) return Health::kNotFinite;
  if (factor_ == 0 || recent.size() < kFewest) return Health::kUsual;
  return norm > factor_ * median(recent) ? Health::kSpike : Health::kUsual;
}

double SpikeDetector::median(const std::vector<double>& recent) {
  std::array<double, kMemory> sorted{};
  const std::size_t count = std::min(recent.size(), kMemory);
  std::copy_n(recent.begin(), count, sorted.begin());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(count / 2);
  std::nth_element(sorted.begin(), middle, sorted.begin() + static_cast<std::ptrdiff_t>(count));
  return *middle;
}

void SpikeDetector::remember(double norm, std::vector<double>& recent) {
  recent.reserve(kMemory + 1);
  if (recent.size() == kMemory) recent.erase(recent.begin());
  recent.push_back(norm);
}

}  // namespace cllm::train
