#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cllm::cli {

/// Says what to write instead of a name that there is none of, to stand behind "unknown option X":
/// "; it is called --batch here", "; did you mean --steps?", or, where other programs have it and
/// this one has not, why. `name` and `known` are without dashes in front; `dashes` is what stands
/// before them in what is said. Empty where nothing comes to mind.
std::string option_advice(std::string_view name, const std::vector<std::string>& known,
                          std::string_view dashes);

/// The same of a command.
std::string command_advice(std::string_view name, const std::vector<std::string>& known);

/// The name among `known` with the fewest edits to `name`, or an empty view when none is near.
std::string_view nearest(std::string_view name, const std::vector<std::string>& known);

}  // namespace cllm::cli
