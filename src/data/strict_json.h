#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace cllm::data {

/// Parses JSON that another program wrote. Throws Error, naming `name`, where it is no JSON, or
/// where an object has a key twice, of which readers take either, or values are nested absurdly
/// deep.
nlohmann::json parse_strict_json(std::string_view text, const std::string& name);

}  // namespace cllm::data
