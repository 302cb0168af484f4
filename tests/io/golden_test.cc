#include <fmt/format.h>

#include "checkpoint_fixture.h"
#include "cllm/model/families.h"

namespace cllm::io {
namespace {

/// What the golden files hold. Each was written by a program whose format was of that version, by
/// `golden_content(version).write(path)`.
model::ModelConfig golden_model(int version) {
  model::ModelConfig config = {
      .layers = 1, .heads = 1, .channels = 2, .context = 2, .vocabulary = 3};
  if (version == 3) config.embedding_rank = 1;
  if (version == 4) {
    config.heads = 2;
    config.kv_heads = 1;
    config.head_size = 4;
    config.mlp_width = 3;
    config.family = "qwen3";
    config.parts = model::find_family("qwen3").parts;
    config.parts.tied = false;
    config.parts.softcap = 12.5;
  }
  return config;
}

Content golden_content(int version) {
  Content content(golden_model(version));
  content.run.step = 7;
  content.run.tokens_seen = 112;
  content.run.seed = 5;
  content.run.config = "steps = 7\n# Grüße\n";
  content.run.state = "{}";
  content.run.tokenizer_kind = "bytes";
  content.run.tokenizer_blob = std::string("a\0b", 3);
  content.run.program_version = "0.1.0";
  if (version == 4) content.run.config += "row-order = \"ulam\"\n";  // an option that has retired
  if (version == 3) {
    content.run.lattices[0] = lattice::Certificate{.before = {1, 1, {-5}},
                                                   .transform = {1, 1, {-1}},
                                                   .inverse = {1, 1, {-1}},
                                                   .reduced = {1, 1, {5}}};
  }
  float value = -20.25F;
  for (AlignedBuffer<float>* buffer : {&content.parameters, &content.m, &content.v}) {
    for (const model::Tensor& tensor : content.layout.tensors()) {
      for (std::size_t i = 0; i < tensor.size(); ++i) {
        (*buffer)[tensor.offset + i] = value;
        value += 0.75F;
      }
    }
  }
  return content;
}

class GoldenCheckpointTest : public testing::TestWithParam<int> {};

TEST_P(GoldenCheckpointTest, IsRead) {
  const Content expected = golden_content(GetParam());
  const std::filesystem::path path =
      fmt::format("{}/golden/checkpoint_v{}.h5", CLLM_TESTS_DIR, GetParam());
  EXPECT_TRUE(same_bits(read_all(path, expected.run.model), expected));
  const CheckpointSummary summary = describe_checkpoint(path);
  EXPECT_TRUE(summary.is_whole());
  EXPECT_EQ(summary.run, expected.run);
}

INSTANTIATE_TEST_SUITE_P(Versions, GoldenCheckpointTest, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace cllm::io
