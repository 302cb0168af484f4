#include "cllm/ranks/heartbeat.h"

#include <fmt/format.h>

#include <cstring>

namespace cllm::ranks {

std::string Beat::text() const {
  std::string text = doing.data();
  if (waits != 0) text = bucket < 0 ? "in " + text : fmt::format("in the sum of bucket {}", bucket);
  return step == 0 ? text : fmt::format("{} at step {}", text, step);
}

Beat Heartbeat::beat() const {
  Beat beat;
  beat.step = step_.load(kRelaxed);
  beat.progress = progress_.load(kRelaxed);
  const char* const exchange = exchange_.load();
  beat.waits = exchange != nullptr;
  beat.bucket = bucket_.load(kRelaxed);
  std::strncpy(beat.doing.data(), exchange != nullptr ? exchange : doing_.load(),
               beat.doing.size() - 1);
  return beat;
}

Heartbeat& heartbeat() {
  static Heartbeat beat;
  return beat;
}

}  // namespace cllm::ranks
