#include "checked_json.h"

#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "cllm/base/error.h"

namespace cllm::io {
namespace {

/// Objects and lists in one another; these files have four.
constexpr int kMostDepth = 32;

}  // namespace

nlohmann::json parse_checked_json(std::string_view text, const std::string& what) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Event event, nlohmann::json& parsed) {
    if (depth > kMostDepth) fail("{} nests deeper than {} levels, as none does", what, kMostDepth);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get_ref<std::string&>()).second) {
      fail("{} has the key {:?} twice; which one counts is unknown", what,
           parsed.get_ref<std::string&>());
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception&) {
    fail("{} is not JSON, or is cut off", what);
  }
}

JsonFields::JsonFields(const nlohmann::json& object, std::string what)
    : object_(object), what_(std::move(what)) {
  if (!object_.is_object()) fail("{} is not a JSON object", what_);
}

bool JsonFields::has(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

bool JsonFields::is_null(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

const nlohmann::json& JsonFields::value(const char* key) const {
  if (!has(key)) fail("{} has no {:?}", what_, key);
  return object_.at(key);
}

void JsonFields::refuse(const char* key, const char* should_be) const {
  fail("{} has {:?}: {}, which should be {}", what_, key,
       object_.at(key).dump(-1, ' ', true).substr(0, 60), should_be);
}

std::size_t JsonFields::size(const char* key) const {
  if (!value(key).is_number_unsigned()) refuse(key, "a whole number");
  return object_.at(key).get<std::size_t>();
}

std::size_t JsonFields::size_or(const char* key, std::size_t usual) const {
  return has(key) ? size(key) : usual;
}

double JsonFields::number_or(const char* key, double usual) const {
  if (!has(key)) return usual;
  if (!value(key).is_number()) refuse(key, "a number");
  return object_.at(key).get<double>();
}

bool JsonFields::flag_or(const char* key, bool usual) const {
  if (!has(key)) return usual;
  if (!value(key).is_boolean()) refuse(key, "true or false");
  return object_.at(key).get<bool>();
}

std::string JsonFields::text_or(const char* key, const std::string& usual) const {
  if (!has(key)) return usual;
  if (!value(key).is_string()) refuse(key, "a text");
  return object_.at(key).get<std::string>();
}

JsonFields JsonFields::object(const char* key) const { return {value(key), what_ + ": " + key}; }

}  // namespace cllm::io
