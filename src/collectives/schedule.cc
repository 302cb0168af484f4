#include "cllm/collectives/schedule.h"

#include <bit>

namespace cllm::collectives {

Schedule::Schedule(Pattern pattern, int rank, int ranks)
    : pattern_(pattern),
      rank_(rank),
      ranks_(ranks),
      half_(pattern == Pattern::kRing
                ? ranks - 1
                : static_cast<int>(std::bit_width(static_cast<unsigned>(ranks - 1)))) {}

Round Schedule::round(int number) const {
  return pattern_ == Pattern::kRing ? ring(number) : halving(number);
}

int Schedule::sent_in(int number) const {
  const int back = number - half_;
  return pattern_ == Pattern::kRing ? back : half_ - 1 - back;
}

Round Schedule::ring(int number) const {
  // One part further back in each round: the first half begins with the part before the rank's own,
  // and ends as the second begins, with the rank's own.
  const int sent = number < half_ ? -1 - number : half_ - number;
  return {ahead(1), ahead(-1), {ahead(sent), 1}, {ahead(sent - 1), 1}};
}

Round Schedule::halving(int number) const {
  const bool adds = number < half_;
  const int k = adds ? number : 2 * half_ - 1 - number;
  const auto left = [&](int halvings) { return (ranks_ + (1 << halvings) - 1) >> halvings; };
  const int end = left(k), distance = left(k + 1);
  const Parts far = {ahead(distance), end - distance}, near = {rank_, end - distance};
  if (adds) return {ahead(distance), ahead(-distance), far, near};
  return {ahead(-distance), ahead(distance), near, far};
}

}  // namespace cllm::collectives
