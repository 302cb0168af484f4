#include <cmath>
#include <numbers>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST_F(ProgramTest, TrainsOnTheBuiltInCorpusWhenNothingIsSaid) {
  // Nothing but the size, so that it takes a second: data, directory and rates are the defaults.
  const ChildResult result =
      succeed({"--preset", "tiny", "--steps", "100", "--batch", "4", "--eval-sequences", "8"});
  std::vector<std::string> runs;
  for (const auto& entry : std::filesystem::directory_iterator(path("checkpoints"))) {
    runs.push_back("checkpoints/" + entry.path().filename().string());
  }
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_THAT(runs[0], testing::MatchesRegex("checkpoints/[0-9]{8}-[0-9]{6}-tiny"));
  EXPECT_THAT(files_in(runs[0]),
              ElementsAre("complete", "config.toml", "latest", "metrics.jsonl", "step-00000100.h5",
                          "tensorboard", testing::StartsWith("tensorboard/events.out.tfevents.")));
  EXPECT_EQ(read(runs[0] + "/latest"), "step-00000100.h5\n");
  EXPECT_THAT(result.out, HasSubstr("--checkpoint " + runs[0]));

  // Before it learned, the model knows no more than that there are 256 bytes: within 2 % of ln 256.
  // A nat below that is what no model has that learned nothing.
  const double guess = std::log(256.0);
  EXPECT_NEAR(values(runs[0], "loss").front(), guess, 0.02 * guess);
  EXPECT_LT(values(runs[0], "val_loss").back(), guess - 1);
}

TEST_F(ProgramTest, MetricsHaveALinePerStepAndPerEvaluation) {
  succeed(tiny("run", 10, {"--eval-every", "4"}));
  const auto steps = metrics("run", "loss");
  ASSERT_EQ(steps.size(), 10u);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const nlohmann::json& line = steps[i];
    EXPECT_EQ(line.at("step"), i + 1);
    EXPECT_EQ(line.at("tokens"), (i + 1) * 4 * 64);
    for (const char* key : {"loss", "lr", "grad_norm", "tokens_per_s"}) {
      EXPECT_TRUE(line.at(key).is_number()) << key;
      EXPECT_GT(line.at(key), 0) << key;
    }
    for (const char* phase : {"compute", "communication", "update"}) {
      EXPECT_GE(line.at("seconds").at(phase), 0) << phase;
    }
  }
  EXPECT_THAT(values("run", "val_loss"), testing::Each(testing::Gt(0)));
  std::vector<int> evaluated;
  for (const auto& line : metrics("run", "val_loss")) evaluated.push_back(line.at("step"));
  EXPECT_THAT(evaluated, ElementsAre(4, 8, 10));  // and always at the end
}

TEST_F(ProgramTest, OutputThatIsNoTerminalHasPlainLines) {
  const ChildResult result = succeed(tiny("run", 10));
  EXPECT_THAT(result.out, AllOf(HasSubstr("step "), Not(HasSubstr("\x1b")), Not(HasSubstr("\r"))));
}

TEST_F(ProgramTest, OptionsMayStandInAFileAndTheCommandLineWins) {
  write("run.toml", "# a run\npreset = \"tiny\"\nbatch = 4\nsteps = 6\nseed = 5\nthreads = 1\n");
  succeed({"--config", "run.toml", "--steps", "4", "--out", "run"});
  EXPECT_THAT(read("run/config.toml"), AllOf(HasSubstr("\nsteps = 4\n"), HasSubstr("\nseed = 5\n"),
                                             HasSubstr("\npreset = \"tiny\"\n")));
  EXPECT_EQ(values("run", "loss").size(), 4u);
}

TEST_F(ProgramTest, TheWrittenConfigurationRepeatsTheRun) {
  // A rate that six digits don't hold.
  succeed(tiny("first", 10, {"--lr", "0.00123456789012345", "--seed", "3"}));
  succeed({"--config", "first/config.toml", "--out", "second"});
  EXPECT_EQ(read("first/config.toml"), read("second/config.toml"));
  for (const char* key : {"loss", "lr", "grad_norm", "val_loss"}) {
    EXPECT_EQ(values("first", key), values("second", key)) << key;
  }
}

// It wrote neither a family nor an optimizer, because there was one of each.
TEST_F(ProgramTest, AConfigurationOfAnOlderProgramMeansWhatItMeant) {
  write("old.toml",
        "data = \"builtin\"\npreset = \"tiny\"\nsteps = 2\nbatch = 4\nlr = 0.001\nthreads = 1\n"
        "schedule = \"cosine\"\nweight-decay = 0.1\nbeta1 = 0.9\nbeta2 = 0.95\nclip = 1\n");
  succeed({"--config", "old.toml", "--out", "run"});
  EXPECT_THAT(read("run/config.toml"),
              AllOf(HasSubstr("\nfamily = \"gpt2\"\n"), HasSubstr("\noptimizer = \"adamw\"\n")));
  succeed({"--config", "old.toml", "--family", "llama", "--out", "other"});
  EXPECT_THAT(read("other/config.toml"), HasSubstr("\nfamily = \"llama\"\n"));
}

TEST_F(ProgramTest, ATextFileMayHaveAnyName) {
  write("a #1, \"b\"\\c/it's.txt", sample_text(300));
  succeed(tiny("first", 4, {"--data", "a #1, \"b\"\\c/it's.txt"}));
  succeed({"--config", "first/config.toml", "--out", "second"});
  EXPECT_EQ(values("first", "loss"), values("second", "loss"));
}

TEST_F(ProgramTest, WhereNothingCanBeKeptBesideTheRunTokensAreKeptInIt) {
  write("text.txt", sample_text(300));
  write("scratch/token-cache", "what is somebody else's");
  succeed(tiny("scratch/run", 2, {"--data", "text.txt", "--tokenizer", "bpe:300"}));
  EXPECT_EQ(files_in("scratch/run/token-cache").size(), 3u);
  EXPECT_THAT(files_in("scratch/run"), testing::Contains("complete"));
}

TEST_F(ProgramTest, SampleContinuesThePrompt) {
  succeed(tiny("run", 20));
  const auto sample = [&](const Arguments& more) {
    return succeed(
               Arguments{"sample", "--checkpoint", "run", "--prompt", "Once", "--tokens", "40"} +
               more)
        .out;
  };
  const std::string text = sample({"--seed", "1"});
  EXPECT_THAT(text, StartsWith("Once"));
  EXPECT_EQ(text.size(), 4u + 40 + 1);  // a token is a byte here, and a line ends
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(sample({"--seed", "1"}), text);
  EXPECT_NE(sample({"--seed", "2"}), text);
  // The likeliest token leaves nothing to draw.
  const std::string likeliest = sample({"--temperature", "0", "--seed", "1"});
  EXPECT_EQ(sample({"--temperature", "0", "--seed", "2"}), likeliest);
  EXPECT_EQ(sample({"--top-k", "1", "--seed", "2"}), likeliest);
}

TEST_F(ProgramTest, EvalRepeatsTheRunsLastEvaluation) {
  write("train.txt", sample_text(400));
  write("held-out.txt", sample_text(60));
  succeed(tiny(
      "run", 20,
      {"--data", "train.txt", "--validation-data", "held-out.txt", "--eval-sequences", "all"}));
  const double loss = values("run", "val_loss").back();
  const std::string out =
      succeed({"eval", "--checkpoint", "run", "--data", "held-out.txt", "--threads", "1"}).out;
  const auto number_after = [&](const std::string& name) {
    const std::size_t at = out.find(name);
    EXPECT_NE(at, out.npos) << out;
    return at == out.npos ? 0.0 : std::stod(out.substr(at + name.size()));
  };
  // Printed with as many digits; the sums are the same ones.
  EXPECT_NEAR(number_after("loss"), loss, 0.51e-6);
  EXPECT_NEAR(number_after("perplexity"), std::exp(loss), 0.51e-4);
  // A byte is a token, but for the first, which nothing comes before.
  EXPECT_NEAR(number_after("bits per byte"), loss / std::numbers::ln2, 0.51e-4);
  EXPECT_EQ(number_after("tokens"), static_cast<double>(sample_text(60).size() - 1));
}

TEST_F(ProgramTest, InspectSaysWhatACheckpointHolds) {
  succeed(tiny("run", 3));
  const std::string out = succeed({"inspect", "run"}).out;
  EXPECT_THAT(out, AllOf(HasSubstr("2 layers, 2 heads, 64 channels, context 64, vocabulary 256"),
                         HasSubstr("3 steps"), HasSubstr("tokenizer   bytes"), HasSubstr("whole"),
                         HasSubstr("steps = 3")));
  EXPECT_EQ(succeed({"inspect", "run/step-00000003.h5"}).out, out);
  EXPECT_THAT(digests("run"), Contains(StartsWith("/params/wte.weight ")));
}

TEST_F(ProgramTest, ATokenFileTrainsAsItsTextDoes) {
  write("train.txt", sample_text(300));
  write("held-out.txt", sample_text(50));
  succeed({"tokenize", "--data", "train.txt", "--out", "train.tokens"});
  succeed({"tokenize", "--data", "held-out.txt", "--out", "held-out.tokens"});
  succeed(tiny("text", 5, {"--data", "train.txt", "--validation-data", "held-out.txt"}));
  succeed(tiny("tokens", 5, {"--data", "train.tokens", "--validation-data", "held-out.tokens"}));
  EXPECT_EQ(values("text", "loss"), values("tokens", "loss"));
  EXPECT_EQ(values("text", "val_loss"), values("tokens", "val_loss"));
  EXPECT_EQ(digests("text"), digests("tokens"));
}

TEST_F(ProgramTest, ATokenizerIsTrainedOnceAndTravelsWithTheCheckpoint) {
  write("text.txt", sample_text(2000));
  const Arguments options = {"--data", "text.txt", "--tokenizer", "bpe:300"};
  EXPECT_THAT(succeed(tiny("first", 5, options)).out, HasSubstr("training the tokenizer bpe:300"));
  EXPECT_THAT(succeed(tiny("second", 5, options)).out,
              AllOf(HasSubstr("cached"), Not(HasSubstr("training the tokenizer"))));
  EXPECT_EQ(values("first", "loss"), values("second", "loss"));
  std::filesystem::remove_all(path("token-cache"));
  std::filesystem::remove(path("text.txt"));
  EXPECT_THAT(succeed({"sample", "--checkpoint", "first", "--prompt", "the river"}).out,
              StartsWith("the river"));
}

TEST_F(ProgramTest, HelpAndVersion) {
  EXPECT_THAT(succeed({"--version"}).out, testing::ContainsRegex("^[0-9]+\\.[0-9]+\\.[0-9]+\n$"));
  EXPECT_THAT(succeed({"--help"}).out,
              AllOf(HasSubstr("--steps"), HasSubstr("sample"), HasSubstr("mpirun -np N")));
  for (const std::string& line : lines_of(succeed({"--help"}).out)) EXPECT_LE(line.size(), 100u);
  EXPECT_THAT(succeed({"sample", "--help"}).out, HasSubstr("--temperature"));
  EXPECT_THAT(succeed({"eval", "--help"}).out, HasSubstr("--eval-sequences"));
  EXPECT_THAT(succeed({"neighbours", "--help"}).out, HasSubstr("--count"));
  EXPECT_THAT(succeed({"inspect", "--help"}).out, HasSubstr("--tensors"));
  EXPECT_THAT(succeed({"tokenize", "--help"}).out, HasSubstr("--tokenizer"));
  EXPECT_THAT(files_in(""), testing::IsEmpty());
}

}  // namespace
}  // namespace cllm::cli
