#include "cllm/base/recorder.h"

namespace cllm {

std::string_view name_of(Activity activity) {
  static constexpr std::array<std::string_view, static_cast<std::size_t>(Activity::kCount)> kNames =
      {"forward",        "head",          "backward",  "attention",
       "matrix product", "node sum",      "allreduce", "all-gather",
       "update",         "orthogonalise", "wait"};
  return kNames[static_cast<std::size_t>(activity)];
}

}  // namespace cllm
