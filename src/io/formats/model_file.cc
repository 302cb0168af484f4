#include "cllm/io/formats/model_file.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <fstream>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/data/dataset.h"
#include "foreign_model.h"

namespace cllm::io {

namespace fs = std::filesystem;

namespace {

constexpr std::array<unsigned char, 4> kGgufMagic = {'G', 'G', 'U', 'F'};
/// 20240326, little-endian.
constexpr std::array<unsigned char, 4> kLlmCMagic = {0xC6, 0xD7, 0x34, 0x01};

std::array<unsigned char, 4> first_bytes(const fs::path& path) {
  std::array<unsigned char, 4> bytes{};
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), bytes.size());
  return bytes;
}

/// The model, of which every tensor is where it should be.
ForeignModel open_foreign(const fs::path& path) {
  ForeignModel model = [&] {
    switch (format_of(path)) {
      case ModelFormat::kTransformers:
        return open_transformers(path);
      case ModelFormat::kGguf:
        return open_gguf(path);
      case ModelFormat::kLlmC:
        return open_llm_c(path);
      case ModelFormat::kCheckpoint:
        break;
    }
    fail("{} is no model of another program", path.string());
  }();
  if (model.config.layers > model.archive.tensors.size()) {
    fail("{} says that it has {} layers, but it has {} tensors", path.string(), model.config.layers,
         model.archive.tensors.size());
  }
  check_weights(model.archive, model.naming, path.string(), model::Layout(model.config));
  return model;
}

}  // namespace

ModelFormat format_of(const fs::path& path) {
  std::error_code unknown;
  if (fs::is_directory(path, unknown)) {
    return fs::exists(path / "config.json", unknown) ? ModelFormat::kTransformers
                                                     : ModelFormat::kCheckpoint;
  }
  if (!fs::is_regular_file(path, unknown)) return ModelFormat::kCheckpoint;
  const auto bytes = first_bytes(path);
  if (bytes == kGgufMagic) return ModelFormat::kGguf;
  if (bytes == kLlmCMagic) return ModelFormat::kLlmC;
  return ModelFormat::kCheckpoint;
}

ModelHead read_model_head(const fs::path& path) {
  if (format_of(path) == ModelFormat::kCheckpoint) {
    ModelHead head{.run = read_run_state(path), .format = "checkpoint", .tokenizer_note = {}};
    if (!head.run.compression.empty()) head.format = "compressed model";
    if (head.run.tokenizer_kind.empty()) {
      head.tokenizer_note =
          "it was trained on token files without one; train with --tokenizer FILE.model";
    }
    return head;
  }
  ForeignModel model = open_foreign(path);
  ModelHead head{.run = {}, .format = model.format, .tokenizer_note = model.tokenizer_note};
  head.run.model = model.config;
  // Texts are read for it as for a new run.
  head.run.state = fmt::format(R"({{"text_rules": {}}})", static_cast<int>(data::kTextRules));
  head.run.tokenizer_kind = std::move(model.tokenizer_kind);
  head.run.tokenizer_blob = std::move(model.tokenizer_blob);
  return head;
}

void read_model_weights(const fs::path& path, const model::Layout& layout,
                        std::span<float> parameters) {
  if (format_of(path) == ModelFormat::kCheckpoint) {
    return read_parameters(path, layout, parameters);
  }
  const ForeignModel model = open_foreign(path);
  if (model.config != layout.config()) {
    fail("{} has become another model since it was looked at", path.string());
  }
  read_weights(model.archive, model.naming, layout, parameters);
}

std::vector<TensorSummary> list_foreign_tensors(const fs::path& path) {
  const ForeignModel model = open_foreign(path);
  std::vector<TensorSummary> tensors;
  for (const auto& [name, tensor] : model.archive.tensors) {
    tensors.push_back({.path = name,
                       .shape = tensor.shape,
                       .type = tensor.type_name,
                       .digest = digest_hex(tensor.bytes),
                       .problem = {}});
  }
  return tensors;
}

}  // namespace cllm::io
