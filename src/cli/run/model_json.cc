#include "cllm/cli/run/model_json.h"

#include <nlohmann/json.hpp>

#include "cllm/model/config_fields.h"
#include "cllm/model/families.h"

namespace cllm::cli {

std::string to_json(const model::ModelConfig& config) {
  nlohmann::json fields = {{"family", config.family}};
  const auto write = [&](const char* name, const auto& value) { fields[name] = value; };
  model::for_each_size(write, config);
  model::for_each_part(write, config);
  model::for_each_lora_number(write, config);
  fields["lora_targets"] = config.lora.targets.bits;
  fields["embedding_bands"] = model::text_of(config.bands);
  return fields.dump();
}

model::ModelConfig model_from_json(const std::string& text) {
  const auto fields = nlohmann::json::parse(text);
  model::ModelConfig config;
  config.family = model::find_family(fields.at("family").get<std::string>()).name;
  const auto read = [&](const char* name, auto& value) { fields.at(name).get_to(value); };
  model::for_each_size(read, config);
  model::for_each_part(read, config);
  model::for_each_lora_number(read, config);
  read("lora_targets", config.lora.targets.bits);
  const auto bands = fields.at("embedding_bands").get<std::string>();
  if (!bands.empty()) config.bands = model::bands_of(bands);
  return config;
}

}  // namespace cllm::cli
