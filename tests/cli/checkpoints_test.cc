#include "cllm/cli/run/checkpoints.h"

#include <gmock/gmock.h>

#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::cli {
namespace {

using support::error_of;
using testing::HasSubstr;

LoadedModel model_of(const std::string& state, const std::string& config = {}) {
  CheckpointHead head;
  head.path = "step.h5";
  head.run.model = {.layers = 1, .heads = 1, .channels = 8, .context = 8, .vocabulary = 256};
  head.run.tokenizer_kind = "bytes";
  head.run.config = config;
  head.run.state = state;
  return LoadedModel(std::move(head));
}

TEST(LoadedModel, ReadsTextByTheRulesOfItsRun) {
  const support::ScratchDirectory scratch;
  const std::string lines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
  const std::string file = scratch.write("a.jsonl", lines);
  for (const char* old : {"{}", R"({"text_rules": 1})", R"({"text_rules": 2})"}) {
    EXPECT_EQ(model_of(old).load_part(file, 1).tokens.size(), lines.size()) << old;
  }
  EXPECT_EQ(model_of(R"({"text_rules": 3})").load_part(file, 1).tokens.size(), 7u);
  EXPECT_THAT(error_of([&] { model_of(R"({"text_rules": 5})").load_part(file, 1); }),
              HasSubstr("step.h5 reads its texts by rules 5"));
  // And with the separator of its run.
  const std::string text = scratch.write("a.txt", "one--two");
  const auto size = [&](const std::string& config) {
    return model_of(R"({"text_rules": 3})", config).load_part(text, 1).tokens.size();
  };
  EXPECT_EQ(size(""), 8u);
  EXPECT_EQ(size("document-separator = \"--\"\n"), 7u);
}

}  // namespace
}  // namespace cllm::cli
