#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "architectures.h"
#include "cllm/base/atomic_directory.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/io/formats/export.h"
#include "cllm/io/formats/safetensors.h"
#include "cllm/model/merge.h"
#include "naming.h"

namespace cllm::io {

namespace fs = std::filesystem;

namespace {

using OrderedJson = nlohmann::ordered_json;

/// A module of transformers, and those of our adapters that are for its rows.
struct Module {
  std::string name;  ///< "model.layers.0.self_attn.q_proj"
  Binding binding;
  std::vector<model::AdapterTensors> adapters;
};

std::vector<Module> modules_of(const Naming& naming, const model::Layout& base,
                               const model::Layout& layout) {
  constexpr std::string_view kWeight = ".weight";
  std::vector<Module> modules;
  for (const Binding& binding : bindings(naming, base)) {
    const auto ours = std::ranges::find(layout.tensors(), binding.ours->name, &model::Tensor::name);
    const auto index = static_cast<std::size_t>(ours - layout.tensors().begin());
    std::vector<model::AdapterTensors> adapters;
    for (const model::AdapterTensors& adapter : layout.adapters_of(index)) {
      const bool is_within = adapter.first_row >= binding.first_row &&
                             adapter.first_row < binding.first_row + binding.rows;
      if (is_within) adapters.push_back(adapter);
    }
    if (adapters.empty()) continue;
    modules.push_back({binding.theirs.substr(0, binding.theirs.size() - kWeight.size()), binding,
                       std::move(adapters)});
  }
  return modules;
}

/// How PEFT knows the module in every layer: by the end of its name. One that two modules of a
/// layer end with is not enough.
std::string target_of(const std::string& module) {
  const std::size_t last = module.rfind('.');
  const std::string name = module.substr(last + 1);
  if (name != "c_proj") return name;
  return module.substr(module.rfind('.', last - 1) + 1);
}

/// Row of a module's B: that of the adapter which has our row, and zeros for all others.
void fill_b(const Module& module, const model::Layout& layout, std::span<const float> parameters,
            std::size_t row, std::span<float> values) {
  std::ranges::fill(values, 0.0f);
  const std::size_t our_row = module.binding.first_row + module.binding.our_row(row);
  const std::size_t rank = layout.config().lora.rank;
  for (std::size_t i = 0; i < module.adapters.size(); ++i) {
    const model::AdapterTensors& adapter = module.adapters[i];
    if (our_row < adapter.first_row || our_row >= adapter.first_row + adapter.rows) continue;
    const float* const b = parameters.data() + layout[adapter.b].offset;
    std::copy_n(b + (our_row - adapter.first_row) * rank, rank,
                values.begin() + static_cast<std::ptrdiff_t>(i * rank));
  }
}

std::vector<OutgoingTensor> tensors_of(const std::shared_ptr<const std::vector<Module>>& modules,
                                       const model::Layout& layout,
                                       std::span<const float> parameters, ElementType type) {
  const std::size_t rank = layout.config().lora.rank;
  std::vector<OutgoingTensor> tensors;
  for (const Module& module : *modules) {
    const std::size_t ranks = rank * module.adapters.size();
    const std::string name = fmt::format("base_model.model.{}.lora_", module.name);
    tensors.push_back({.name = name + "A.weight",
                       .type = type,
                       .shape = {ranks, module.binding.ours->columns},
                       .fill = [modules, &module, &layout, parameters, rank](
                                   std::size_t row, std::span<float> values) {
                         const model::AdapterTensors& adapter = module.adapters[row / rank];
                         const float* const a = parameters.data() + layout[adapter.a].offset;
                         std::copy_n(a + row % rank * values.size(), values.size(), values.begin());
                       }});
    tensors.push_back(
        {.name = name + "B.weight",
         .type = type,
         .shape = {module.binding.rows, ranks},
         .fill = [modules, &module, &layout, parameters](std::size_t row, std::span<float> values) {
           fill_b(module, layout, parameters, row, values);
         }});
  }
  return tensors;
}

/// Whole numbers without a fraction, as PEFT's are mostly.
OrderedJson number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<std::int64_t>(value);
  return value;
}

OrderedJson config_of(const std::vector<Module>& modules, const model::Lora& lora,
                      const std::string& base, bool is_transposed) {
  std::set<std::string> targets;
  OrderedJson ranks = OrderedJson::object(), alphas = OrderedJson::object();
  for (const Module& module : modules) {
    const std::string target = target_of(module.name);
    targets.insert(target);
    if (const std::size_t count = module.adapters.size(); count > 1) {
      ranks[target] = count * lora.rank;
      alphas[target] = number(static_cast<double>(count) * lora.alpha);
    }
  }
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base.empty() ? OrderedJson() : OrderedJson(base)},
          {"r", lora.rank},
          {"lora_alpha", number(lora.alpha)},
          {"target_modules", targets},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"fan_in_fan_out", is_transposed},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"inference_mode", true}};
}

}  // namespace

ExportReport export_adapters(const fs::path& path, const ExportedModel& model, ElementType type,
                             const std::string& base) {
  const model::ModelConfig& config = model.layout.config();
  if (config.lora.rank == 0) fail("{} has no adapters", model.name);
  if (block_elements(type) > 1) {
    fail("PEFT has no {}; give --type f32, f16 or bf16", name_of(type));
  }
  ExportReport report{.architecture = std::string(transformers_architecture(config)), .notes = {}};
  const model::Layout bare(model::without_adapters(config));
  const auto modules = std::make_shared<const std::vector<Module>>(
      modules_of(transformers_naming(report.architecture), bare, model.layout));
  const bool is_transposed = std::ranges::any_of(
      *modules, [](const Module& module) { return module.binding.form == Form::kTransposed; });
  const std::vector<OutgoingTensor> tensors =
      tensors_of(modules, model.layout, model.parameters, type);
  for (const OutgoingTensor& tensor : tensors) report.tensor_bytes += tensor.bytes();
  report.notes.emplace_back(
      "adapters alone; PEFT loads them beside the model that they were made for");
  AtomicDirectory directory(path);
  const std::string text = config_of(*modules, config.lora, base, is_transposed).dump(2) + "\n";
  write_atomically(directory.temporary() / "adapter_config.json", std::as_bytes(std::span(text)));
  write_safetensors(directory.temporary() / "adapter_model.safetensors", tensors);
  directory.commit();
  return report;
}

}  // namespace cllm::io
