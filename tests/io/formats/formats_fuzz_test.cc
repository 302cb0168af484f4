// Spoiled models of other programs. None has digests, so another number in a tensor is read as it
// is; all else is refused in one sentence, or reads as a model whose tensors lie in the file.
#include "cllm/data/byte_level.h"
#include "cllm/data/tokenizer.h"
#include "formats_fixture.h"
#include "io/fuzz_fixture.h"
#include "io/mutations.h"

namespace cllm::io {
namespace {

class FormatsFuzzTest : public FuzzTest {
 protected:
  /// Reads the model at `path`, all of it.
  static std::string judge(const std::filesystem::path& path, std::size_t most_floats) {
    std::string complaint;
    reads(path, complaint, [&] {
      const Imported model(path);
      if (model.parameters.size() > most_floats) complaint += "a model larger than its file; ";
      static_cast<void>(list_foreign_tensors(path));
      const RunState& run = model.head.run;
      if (run.tokenizer_kind.empty()) return;
      const auto tokenizer = data::make_tokenizer(run.tokenizer_kind, run.tokenizer_blob);
      const std::string text = "It's 12 \u00E9\n";
      if (tokenizer->lossless() && tokenizer->decode(tokenizer->encode(text)) != text) {
        complaint += "a tokenizer that loses text; ";
      }
    });
    return complaint;
  }

  /// Spoils the file at `spoiled`, of the model at `path`: its first bytes in three of four cases.
  void fuzz_file(std::uint64_t stream, const std::filesystem::path& path,
                 const std::filesystem::path& spoiled, std::size_t header) const {
    const std::string whole = read_file(spoiled);
    const std::size_t most = size_of_all(path);
    EXPECT_EQ(judge(path, most), "");
    const auto spoil = [&](RandomStream& random) {
      std::string bytes = whole;
      if (random.below(4) > 0) {
        std::string front = bytes.substr(0, header);
        mutate_bytes(front, random);
        bytes.replace(0, std::min(header, bytes.size()), front);
      } else {
        mutate_bytes(bytes, random);
      }
      std::ofstream(spoiled, std::ios::binary | std::ios::trunc) << bytes;
    };
    fuzz(stream, spoil, [&] { return judge(path, most); });
  }

  /// The most weights that they can hold: Q4_0 has two in a byte, the others' fewer than one.
  static std::size_t size_of_all(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return 2 * std::filesystem::file_size(path) + 4096;
    std::size_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path)) bytes += entry.file_size();
    return bytes;
  }

  /// A copy of a model of tests/interop/golden.
  std::filesystem::path copy(const char* name) const {
    const std::filesystem::path from = std::filesystem::path(kGoldenModels) / name;
    std::filesystem::copy(from, path_, std::filesystem::copy_options::recursive);
    return std::filesystem::exists(path_ / "model") ? path_ / "model" : path_;
  }
};

TEST_F(FormatsFuzzTest, Safetensors) {
  const auto model = copy("nanochat-f32");
  fuzz_file(31, model, model / "model.safetensors", 2600);
}

TEST_F(FormatsFuzzTest, TransformersConfiguration) {
  const auto model = copy("qwen3-f16");
  fuzz_file(32, model, model / "config.json", 2000);
}

TEST_F(FormatsFuzzTest, TransformersIndex) {
  const auto model = copy("llama-bf16-sharded");
  fuzz_file(33, model, model / "model.safetensors.index.json", 2000);
}

TEST_F(FormatsFuzzTest, Gguf) {
  const auto model = copy("gguf-llama-q4_0");
  fuzz_file(34, model, model, 3000);
}

TEST_F(FormatsFuzzTest, GgufWithATokenizer) {
  const Exported model(small_model("qwen3"));
  export_gguf(path_, model.view(), ElementType::kBf16);
  fuzz_file(35, path_, path_, 12'000);
}

TEST_F(FormatsFuzzTest, GgufWithByteLevelBpe) {
  const std::string blob = read_file(CLLM_TESTS_DIR "/golden/tokenizers/llama3.json");
  model::ModelConfig config = small_model("qwen3");
  config.vocabulary = data::make_tokenizer(data::kByteLevelKind, blob)->vocabulary();
  Exported model(config);
  model.run.tokenizer_kind = data::kByteLevelKind;
  model.run.tokenizer_blob = blob;
  export_gguf(path_, model.view(), ElementType::kBf16);
  fuzz_file(37, path_, path_, 30'000);
}

TEST_F(FormatsFuzzTest, TransformersTokenizer) {
  const std::string blob = read_file(CLLM_TESTS_DIR "/golden/tokenizers/gpt2.json");
  model::ModelConfig config = small_model("gpt2");
  config.vocabulary = data::make_tokenizer(data::kByteLevelKind, blob)->vocabulary();
  Exported model(config);
  model.run.tokenizer_kind = data::kByteLevelKind;
  model.run.tokenizer_blob = blob;
  export_transformers(path_, model.view(), ElementType::kF32, 1'000'000);
  fuzz_file(38, path_, path_ / "tokenizer.json", 16'000);
}

TEST_F(FormatsFuzzTest, LlmC) {
  const auto model = copy("llm_c-bf16");
  fuzz_file(36, model, model, 1024);
}

}  // namespace
}  // namespace cllm::io
