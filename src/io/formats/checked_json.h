#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace cllm::io {

/// JSON of a file that another program wrote. Throws Error where it is none, nests deeper than any
/// of these files does, or has a key twice in one object; `what` names the text in the message.
nlohmann::json parse_checked_json(std::string_view text, const std::string& what);

/// The fields of a JSON object. Throws Error that names `what`, the key, and the type that it
/// should have.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string what);

  bool has(const char* key) const;      ///< and it isn't null
  bool is_null(const char* key) const;  ///< it is there, and null
  std::size_t size(const char* key) const;
  std::size_t size_or(const char* key, std::size_t usual) const;
  double number_or(const char* key, double usual) const;
  bool flag_or(const char* key, bool usual) const;
  std::string text_or(const char* key, const std::string& usual) const;
  /// Throws Error where there is none.
  JsonFields object(const char* key) const;
  const nlohmann::json& value(const char* key) const;

  const std::string& what() const { return what_; }

 private:
  [[noreturn]] void refuse(const char* key, const char* should_be) const;

  const nlohmann::json& object_;
  std::string what_;
};

}  // namespace cllm::io
