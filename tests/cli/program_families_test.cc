// Models of all families, as a user trains, samples from, resumes and inspects them.
#include <fmt/format.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class FamiliesTest : public ProgramTest, public testing::WithParamInterface<const char*> {
 protected:
  Arguments family() const { return {"--family", GetParam()}; }
};

INSTANTIATE_TEST_SUITE_P(All, FamiliesTest, testing::Values("gpt2", "llama", "qwen3", "nanochat"),
                         [](const auto& name) { return std::string(name.param); });

TEST_P(FamiliesTest, LearnAndHaveTheSameBitsOnAnySplit) {
  const Arguments options =
      family() + Arguments{"--batch", "13", "--micro-batch", "3", "--lr", "3e-3"};
  succeed(tiny("alone", 30, options));
  const std::vector<double> losses = values("alone", "loss");
  EXPECT_LT(losses.back(), losses.front() - 1);
  succeed(tiny("threads", 30, options + Arguments{"--threads", "2", "--team", "2"}));
  succeed_on(3, tiny("ranks", 30, options));
  EXPECT_EQ(digests("threads"), digests("alone"));
  EXPECT_EQ(digests("ranks"), digests("alone"));
}

TEST_P(FamiliesTest, GoOnAsIfTheyHadNotStopped) {
  const Arguments options = family() + Arguments{"--schedule", "constant", "--warmup", "0"};
  succeed(tiny("straight", 20, options));
  succeed(tiny("stopped", 10, options));
  succeed_on(2, {"--resume", "stopped", "--steps", "20"});
  EXPECT_EQ(digests("stopped"), digests("straight"));
}

TEST_P(FamiliesTest, AreInspectedSampledFromEvaluatedAndCompressed) {
  succeed(tiny("run", 5, family()));
  EXPECT_THAT(succeed({"inspect", "run"}).out, HasSubstr(fmt::format("{}, ", GetParam())));
  succeed({"sample", "--checkpoint", "run", "--prompt", "The", "--tokens", "100"});
  write("text.txt", sample_text(40));
  succeed({"eval", "--checkpoint", "run", "--data", "text.txt"});
  succeed({"compress", "--checkpoint", "run", "--calibrate", "text.txt", "--bits", "4", "--out",
           "small.h5"});
  succeed({"eval", "--checkpoint", "small.h5", "--data", "text.txt"});
  succeed({"verify", "run"});
}

TEST_P(FamiliesTest, StartFromEachOthersWeightsOnlyWhereTheyAreTheSame) {
  succeed(tiny("first", 5, family()));
  succeed(tiny("second", 5, Arguments{"--init-from", "first"}));
  EXPECT_THAT(succeed({"inspect", "second"}).out, HasSubstr(fmt::format("{}, ", GetParam())));
  const bool is_gpt2 = std::string(GetParam()) == "gpt2";
  const ChildResult result = program(
      tiny("third", 5, Arguments{"--init-from", "first", "--family", is_gpt2 ? "llama" : "gpt2"}));
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("leave out the options that differ"));
}

using PartsTest = ProgramTest;

TEST_F(PartsTest, CanBeSetOneByOneAndAreInspected) {
  succeed(tiny("run", 5,
               {"--family", "llama", "--kv-heads", "1", "--mlp", "relu2", "--softcap", "20",
                "--tied", "off"}));
  EXPECT_THAT(succeed({"inspect", "run"}).out,
              AllOf(HasSubstr("(1 of keys and values)"), HasSubstr("relu2 MLP"),
                    HasSubstr("untied head"), HasSubstr("softcap 20")));
  // A resumed run has them too, without being told.
  succeed({"--resume", "run", "--steps", "8"});
  EXPECT_THAT(succeed({"inspect", "run"}).out, HasSubstr("relu2 MLP"));
}

TEST_F(PartsTest, ThoseThatDontFitAreRefusedInASentence) {
  const auto refusal = [&](const Arguments& options) {
    const ChildResult result = program(tiny("refused", 5, options));
    EXPECT_NE(result.exit_code, 0);
    return result.err;
  };
  EXPECT_THAT(refusal({"--kv-heads", "3", "--heads", "4"}), HasSubstr("--kv-heads 3"));
  EXPECT_THAT(refusal({"--positions", "rotary", "--head-size", "7"}), HasSubstr("--head-size"));
  EXPECT_THAT(refusal({"--family", "bert"}), HasSubstr("gpt2, llama, qwen3 or nanochat"));
  EXPECT_THAT(refusal({"--mlp", "tanh"}), HasSubstr("gelu, swiglu or relu2"));
  EXPECT_THAT(refusal({"--softcap", "-1"}), HasSubstr("--softcap -1"));
  EXPECT_THAT(refusal({"--family", "gpt2", "--norm-epsilon", "1e-6"}), HasSubstr("--norm rms"));
}

}  // namespace
}  // namespace cllm::cli
