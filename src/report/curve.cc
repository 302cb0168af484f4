#include "cllm/report/curve.h"

#include <algorithm>
#include <cmath>

namespace cllm::report {

void Curve::add(const Place& at, double value) {
  if (!std::isfinite(value)) return;
  const Point point{at, value};
  last_ = point;
  if (!least_ || value < least_->value) least_ = point;
  // Steps count from 1.
  const std::uint64_t order = std::max<std::uint64_t>(at.step, 1) - 1;
  while (order / width_ >= most_) widen();
  const auto index = static_cast<std::size_t>(order / width_);
  if (index >= buckets_.size()) buckets_.resize(index + 1);
  merge(buckets_[index], {point, point, at, value, 1});
}

std::vector<Point> Curve::points(std::size_t most) const {
  std::vector<Point> result;
  for (const Bucket& bucket : merged(most / 2)) {
    const bool falls = bucket.greatest.at.step < bucket.least.at.step;
    result.push_back(falls ? bucket.greatest : bucket.least);
    const bool has_one = bucket.least.at.step == bucket.greatest.at.step &&
                         bucket.least.value == bucket.greatest.value;
    if (!has_one) result.push_back(falls ? bucket.least : bucket.greatest);
  }
  return result;
}

std::vector<Point> Curve::means(std::size_t most) const {
  std::vector<Point> result;
  for (const Bucket& bucket : merged(most)) {
    result.push_back({bucket.last, bucket.sum / static_cast<double>(bucket.count)});
  }
  return result;
}

void Curve::merge(Bucket& into, const Bucket& other) {
  if (other.count == 0) return;
  if (into.count == 0) {
    into = other;
    return;
  }
  if (other.least.value < into.least.value) into.least = other.least;
  if (other.greatest.value > into.greatest.value) into.greatest = other.greatest;
  if (other.last.step >= into.last.step) into.last = other.last;
  into.sum += other.sum;
  into.count += other.count;
}

/// The buckets that hold something, neighbours together where there would be more than `most`.
std::vector<Curve::Bucket> Curve::merged(std::size_t most) const {
  const std::size_t together =
      (buckets_.size() + std::max<std::size_t>(most, 1) - 1) / std::max<std::size_t>(most, 1);
  std::vector<Bucket> result;
  for (std::size_t i = 0; i < buckets_.size(); i += together) {
    Bucket all;
    for (std::size_t j = i; j < std::min(i + together, buckets_.size()); ++j) {
      merge(all, buckets_[j]);
    }
    if (all.count > 0) result.push_back(all);
  }
  return result;
}

void Curve::widen() {
  width_ *= 2;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (i % 2 == 0) {
      buckets_[i / 2] = Bucket(buckets_[i]);
    } else {
      merge(buckets_[i / 2], buckets_[i]);
    }
  }
  buckets_.resize((buckets_.size() + 1) / 2);
}

}  // namespace cllm::report
