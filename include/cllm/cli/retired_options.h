#pragma once

#include <span>
#include <string_view>

namespace cllm::cli {

/// An option that is no more. It is refused where somebody gives it; in the configuration of a
/// checkpoint, which an older program wrote, it is passed over.
struct RetiredOption {
  std::string_view name;   ///< without dashes
  std::string_view usual;  ///< the value that meant what every run does now
  std::string_view why;    ///< goes on from "--name is no longer an option: "
};

/// All that there are.
std::span<const RetiredOption> retired_options();

/// The retired option of that name; null where there is none.
const RetiredOption* find_retired(std::string_view name);

}  // namespace cllm::cli
