#include "strict_json.h"

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "cllm/base/error.h"

namespace cllm::data {

using Json = nlohmann::json;

namespace {

/// No file of a tokenizer or of a conversation is nested so deep, and what goes through values
/// recursively needs an end.
constexpr int kDeepest = 100;

}  // namespace

Json parse_strict_json(std::string_view text, const std::string& name) {
  std::vector<std::unordered_set<std::string>> keys;  // of each object that is open
  const auto look = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepest) fail("{} is corrupt: its values are nested {} deep", name, depth);
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      fail("{} is corrupt: it has the key {} twice", name, value.dump());
    }
    return true;
  };
  try {
    return Json::parse(text, look);
  } catch (const Json::parse_error& error) {  // whose own words quote all that it read
    fail("{} is no JSON, or was cut short: byte {} can't stand there", name, error.byte);
  } catch (const Json::exception&) {
    fail("{} is no JSON that can be read: it has a number that is out of range", name);
  }
}

}  // namespace cllm::data
