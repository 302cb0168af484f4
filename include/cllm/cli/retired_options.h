#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cllm::cli {

/// An option that is no more. On the command line it is refused; in a configuration, which an older
/// program may have written, it is passed over, and said where it had an effect.
struct RetiredOption {
  std::string_view name;   ///< without dashes
  std::string_view usual;  ///< the value that meant what every run does now
  std::string_view why;    ///< goes on from "--name is no longer an option: "
};

/// Of those that a configuration has with another value than the usual: "--name was VALUE; it is no
/// longer an option: …".
std::vector<std::string> retired_in(const std::string& configuration);

/// The retired option of that name; null where there is none.
const RetiredOption* find_retired(std::string_view name);

}  // namespace cllm::cli
