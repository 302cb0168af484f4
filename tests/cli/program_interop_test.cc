// Models go to other programs and come back, as a user moves them.
#include <fmt/format.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class InteropTest : public ProgramTest {
 protected:
  /// The digests of the tensors of a checkpoint that begins with a model's weights: after no step
  /// they are still those.
  std::vector<std::string> weights_after(const std::string& model, const std::string& out) const {
    succeed(tiny(
        out, 1,
        {"--init-from", model, "--optimizer", "adamw", "--lr", "1e-30", "--weight-decay", "0"}));
    return digests(out);
  }
};

struct Route {
  const char* family;
  const char* format;
  const char* tokenizer;
};

class InteropRoutes : public InteropTest, public testing::WithParamInterface<Route> {};

INSTANTIATE_TEST_SUITE_P(
    All, InteropRoutes,
    testing::Values(Route{"gpt2", "hf", "bytes"}, Route{"llama", "gguf", "bpe:300"},
                    Route{"qwen3", "gguf", "bytes"}, Route{"nanochat", "hf", "unigram:300"}),
    [](const auto& test) { return fmt::format("{}_{}", test.param.family, test.param.format); });

TEST_P(InteropRoutes, LeadThereAndBack) {
  const auto& [family, format, tokenizer] = GetParam();
  write("text.txt", sample_text(200));
  succeed(tiny("run", 5, {"--family", family, "--tokenizer", tokenizer, "--data", "text.txt"}));
  EXPECT_THAT(succeed({"export", "--checkpoint", "run", "--format", format, "--out", "model"}).out,
              HasSubstr(fmt::format("as {} of type f32", family)));
  // What our commands say of it is what they say of the run.
  const Arguments sample = {"--prompt", "The", "--tokens", "40"};
  EXPECT_EQ(succeed(Arguments{"sample", "--checkpoint", "model"} + sample).out,
            succeed(Arguments{"sample", "--checkpoint", "run"} + sample).out);
  const auto loss_of = [&](const std::string& model) {
    return lines_of(succeed({"eval", "--checkpoint", model, "--data", "text.txt"}).out).at(2);
  };
  EXPECT_THAT(loss_of("model"), HasSubstr("nats per token"));
  EXPECT_EQ(loss_of("model"), loss_of("run"));
  EXPECT_THAT(succeed({"inspect", "model", "--tensors"}).out,
              AllOf(HasSubstr(family), HasSubstr("every tensor is there and finite")));
  EXPECT_EQ(weights_after("model", "again"), weights_after("run", "straight"));
  // And on from there to another program, which also gives the same.
  succeed({"export", "--checkpoint", "model", "--format", format, "--out", "once_more"});
  EXPECT_EQ(succeed(Arguments{"sample", "--checkpoint", "once_more"} + sample).out,
            succeed(Arguments{"sample", "--checkpoint", "run"} + sample).out);
}

TEST_F(InteropTest, QuantisedWeightsAreFittedToAText) {
  write("text.txt", sample_text(400));
  succeed(tiny("run", 60, {"--family", "llama", "--data", "text.txt"}));
  const auto loss_of = [&](const std::string& model) {
    const auto lines = lines_of(succeed({"eval", "--checkpoint", model, "--data", "text.txt"}).out);
    EXPECT_THAT(lines.at(2), testing::StartsWith("loss "));
    return std::stod(lines.at(2).substr(5));
  };
  const auto added = [&](const std::string& name, const Arguments& more) {
    const std::string said = succeed(Arguments{"export", "--checkpoint", "run", "--format", "gguf",
                                               "--type", "q4_0", "--out", name} +
                                     more)
                                 .out;
    EXPECT_EQ(count_lines(said, "calibrates  on text.txt"), more.empty() ? 0 : 1);
    return loss_of(name) - loss_of("run");
  };
  const double plain = added("plain", {});
  EXPECT_GT(plain, 0);
  EXPECT_LT(added("fitted", {"--calibrate", "text.txt", "--threads", "2"}), plain / 2);
  expect_one_sentence(program({"export", "--checkpoint", "run", "--format", "gguf", "--out", "f32",
                               "--calibrate", "text.txt"}),
                      "--calibrate: type f32");
  expect_one_sentence(program({"export", "--checkpoint", "run", "--type", "q4_0", "--out", "hf",
                               "--calibrate", "text.txt"}),
                      "--calibrate: hf has no types");
}

TEST_F(InteropTest, RefusalsAreOneSentence) {
  succeed(tiny("run", 2, {"--family", "nanochat"}));
  const auto refused = [&](const Arguments& more, const std::string& why) {
    expect_one_sentence(program(Arguments{"export", "--checkpoint", "run"} + more), why);
    EXPECT_THAT(files_in("model"), testing::IsEmpty());
  };
  refused({"--format", "gguf", "--out", "model"}, "llama.cpp has no architecture");
  refused({"--type", "q8_0", "--out", "model"}, "transformers has no q8_0");
  refused({"--out", "run"}, "exists already");
  refused({"--out", "model", "--shard-size", "0"}, "--shard-size 0");
  succeed({"export", "--checkpoint", "run", "--out", "hf/"});
  expect_one_sentence(program({"--resume", "hf", "--steps", "9"}), "--init-from");
  succeed(tiny("words", 2, {"--tokenizer", "unigram:400"}));
  expect_one_sentence(
      program({"export", "--checkpoint", "words", "--format", "gguf", "--out", "model"}),
      "unigram");
}

/// Another program's tokens have no text here.
TEST_F(InteropTest, ModelsWithoutATokenizerSaySo) {
  const std::string model = CLLM_INTEROP_GOLDEN "/llm_c-f32/model";
  EXPECT_THAT(succeed({"inspect", model}).out,
              AllOf(HasSubstr("llm.c (gpt2)"), HasSubstr("tokenizer   none")));
  expect_one_sentence(program({"sample", "--checkpoint", model}), "has no tokenizer");
}

}  // namespace
}  // namespace cllm::cli
