#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/io/formats/export.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/model/families.h"
#include "support/example.h"
#include "support/scratch_directory.h"

namespace cllm::io {

inline constexpr const char* kGoldenModels = CLLM_TESTS_DIR "/interop/golden";

/// The message of the Error that reading `path` as a model must end with: one line that names it.
inline std::string refusal(const std::filesystem::path& path) {
  try {
    const ModelHead head = read_model_head(path);
    const model::Layout layout(head.run.model);
    std::vector<float> parameters(layout.flat_size());
    read_model_weights(path, layout, parameters);
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_THAT(message, testing::HasSubstr(path.string()));
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
  ADD_FAILURE() << "no error for " << path;
  return {};
}

/// A small model of a family, in which no two sizes are the same.
inline model::ModelConfig small_model(std::string_view family) {
  model::ModelConfig config{.layers = 2,
                            .heads = 4,
                            .channels = 32,
                            .context = 24,
                            .vocabulary = 256,
                            .mlp_width = 96,
                            .family = model::find_family(family).name,
                            .parts = model::find_family(family).parts};
  if (family != "gpt2") config.kv_heads = 2;
  if (family == "qwen3") config.head_size = 20;
  return model::with_usual_sizes(config);
}

/// What is exported: a model of random weights, with a tokenizer of bytes.
struct Exported {
  explicit Exported(const model::ModelConfig& config)
      : example(support::make_example(config, 1, 8, 5)) {
    run.model = config;
    run.tokenizer_kind = "bytes";
    run.program_version = "0";
    run.state = "{}";
  }
  ExportedModel view() const { return {run, example.layout, example.parameters, "the model"}; }

  support::Example example;
  RunState run;
};

/// The bits of all tensors of a flat buffer.
inline std::vector<std::uint32_t> bits_of(const model::Layout& layout,
                                          std::span<const float> values) {
  std::vector<std::uint32_t> bits;
  for (const model::Tensor& tensor : layout.tensors()) {
    for (const float value : values.subspan(tensor.offset, tensor.size())) {
      bits.push_back(std::bit_cast<std::uint32_t>(value));
    }
  }
  return bits;
}

/// A model as it is read from `path`.
struct Imported {
  explicit Imported(const std::filesystem::path& path)
      : head(read_model_head(path)), layout(head.run.model), parameters(layout.flat_size()) {
    read_model_weights(path, layout, parameters);
  }
  ModelHead head;
  model::Layout layout;
  std::vector<float> parameters;
};

class FormatsTest : public testing::Test {
 protected:
  std::filesystem::path path(const std::string& name) const { return directory_.path() / name; }
  void write(const std::filesystem::path& name, std::string_view bytes) const {
    directory_.write(name, bytes);
  }
  support::ScratchDirectory directory_;
};

}  // namespace cllm::io
