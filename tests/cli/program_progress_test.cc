// What is told of a run while it goes on, and runs that end before their last step.
#include <algorithm>
#include <ctime>
#include <regex>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// A rate that changes no weight, so that no evaluation is better than the first.
const Arguments kStandstill = {"--lr", "1e-30", "--optimizer", "adamw"};

class ProgressTest : public ProgramTest {
 protected:
  std::vector<std::string> samples(const std::string& name) const {
    std::vector<std::string> texts;
    for (const auto& line : metrics(name, "sample")) {
      texts.push_back(line.at("sample").at("prompt").get<std::string>() +
                      line.at("sample").at("text").get<std::string>());
    }
    return texts;
  }
  std::string events(const std::string& name) const {
    std::string all;
    for (const std::string& file : files_in(name + "/tensorboard")) {
      all += read(name + "/tensorboard/" + file);
    }
    return all;
  }
};

TEST_F(ProgressTest, SamplesAreThoseOfTheCommandAndChangeNoBit) {
  const Arguments every = {"--sample-every", "4", "--sample-prompt", "the river"};
  const Arguments data = {"--data", "text.txt", "--tokenizer", "bpe:300"};
  write("text.txt", sample_text(400));
  succeed(tiny("without", 10, data));
  const ChildResult with = succeed(tiny("with", 10, data + every));
  EXPECT_EQ(digests("with"), digests("without"));
  EXPECT_EQ(values("with", "loss"), values("without", "loss"));
  EXPECT_THAT(steps_with("with", "sample"), ElementsAre(4, 8, 10));
  const std::vector<std::string> texts = samples("with");
  const auto answer = nlohmann::json::parse(succeed({"sample", "--checkpoint", "with", "--prompt",
                                                     "the river", "--tokens", "64", "--jsonl"})
                                                .out);
  EXPECT_EQ("the river" + answer.at("completion").get<std::string>(), texts.back());
  EXPECT_THAT(with.out, HasSubstr("step 10/10  sample " + nlohmann::json(texts.back()).dump()));
  EXPECT_THAT(events("with"), HasSubstr("    the river"));
  EXPECT_EQ(samples("without").size(), 0u);

  // On other ranks the same, and once each where a run goes on.
  succeed_on(2, tiny("ranks", 5, data + every));
  succeed_on(2, {"--resume", "ranks", "--steps", "10"});
  EXPECT_THAT(steps_with("ranks", "sample"), ElementsAre(4, 5, 8, 10));
}

TEST_F(ProgressTest, APromptAloneSamplesAsOftenAsItEvaluates) {
  succeed(tiny("run", 8, {"--eval-every", "3", "--sample-prompt", "a", "--sample-tokens", "5"}));
  EXPECT_THAT(steps_with("run", "sample"), ElementsAre(3, 6, 8));
  EXPECT_THAT(read("run/config.toml"),
              AllOf(HasSubstr("\n# sample-every = 3\n"), HasSubstr("\nsample-prompt = \"a\"\n")));
  // No prompt is a document's beginning.
  succeed(tiny("start", 2, {"--sample-every", "2"}));
  EXPECT_EQ(metrics("start", "sample").at(0).at("sample").at("prompt"), "");
}

TEST_F(ProgressTest, ALossThatIsGoodEnoughCompletesTheRun) {
  const Arguments options = {"--eval-every", "4", "--checkpoint-every", "0"};
  succeed(tiny("whole", 24, options));
  const std::vector<double> losses = values("whole", "val_loss");
  // Between what comes after 12 steps and what came before.
  const double least = *std::min_element(losses.begin(), losses.begin() + 2);
  ASSERT_LT(losses[2], least);
  const std::string target = std::to_string((losses[2] + least) / 2);
  const ChildResult result =
      succeed_on(2, tiny("run", 24, options + Arguments{"--target-loss", target, "--keep", "1"}));
  EXPECT_THAT(result.out, HasSubstr("complete after step 12 of 24: the validation loss reached "
                                    "--target-loss "));
  EXPECT_THAT(result.out, HasSubstr("best    validation loss "));
  EXPECT_THAT(result.out, HasSubstr("at step 12: run/step-00000012.h5\n"));
  EXPECT_EQ(steps_with("run", "val_loss"), (std::vector<int>{4, 8, 12}));
  EXPECT_THAT(files_in("run"), AllOf(Contains("complete"), Contains("step-00000012.h5"),
                                     Not(Contains("step-00000008.h5"))));
  EXPECT_THAT(read("run/complete"), StartsWith("12 steps of 24: the validation loss reached "));

  const ChildResult again = succeed({"--resume", "run"});
  EXPECT_THAT(again.out, HasSubstr("nothing to do: the run is complete after step 12 of 24, "
                                   "because the validation loss reached --target-loss"));
  EXPECT_THAT(files_in("run"), Contains("complete"));
  succeed({"--resume", "run", "--target-loss", "0"});
  EXPECT_EQ(read("run/complete"), "24 steps\n");
  EXPECT_EQ(digests("run"), digests("whole"));
}

TEST_F(ProgressTest, PatienceIsCountedThroughStopsAndLeavesTheBest) {
  const Arguments options =
      kStandstill + Arguments{"--eval-every", "3", "--patience", "3", "--keep", "1"};
  const ChildResult whole = succeed(tiny("whole", 40, options));
  EXPECT_THAT(whole.out, HasSubstr("complete after step 12 of 40: 3 evaluations in a row were no "
                                   "better (--patience 3)"));
  EXPECT_THAT(whole.out, HasSubstr("at step 3: whole/step-00000003.h5\n"));
  // It was saved although no checkpoint was due, and is kept beside the newest.
  EXPECT_THAT(files_in("whole"), AllOf(Contains("step-00000003.h5"), Contains("step-00000012.h5")));
  EXPECT_THAT(read("whole/complete"), HasSubstr("12 steps of 40: 3 evaluations"));

  // A start that takes 7 steps, and one that goes on with the two evaluations it saw.
  succeed(tiny("run", 7, options));
  EXPECT_EQ(read("run/complete"), "7 steps\n");
  const ChildResult rest = succeed({"--resume", "run", "--steps", "40"});
  // After step 7, the last of the first start, it evaluated too: that was the second.
  EXPECT_THAT(rest.out, HasSubstr("complete after step 9 of 40: 3 evaluations"));
  EXPECT_THAT(rest.out, HasSubstr("/run/step-00000003.h5\n"));
  EXPECT_THAT(succeed({"--resume", "run"}).out, HasSubstr("nothing to do: the run is complete"));
  EXPECT_THAT(succeed({"--resume", "run", "--patience", "0", "--steps", "11"}).out,
              HasSubstr("done: 2 steps"));
}

TEST_F(ProgressTest, WithoutSuchAnEndNoCheckpointIsSavedForBeingTheBest) {
  succeed(tiny("run", 8, {"--eval-every", "2"}));
  EXPECT_THAT(files_in("run"), Not(Contains("step-00000002.h5")));
}

TEST_F(ProgressTest, LinesShowTheValidationLossAndItsTrend) {
  const std::string out = succeed(tiny("run", 12, {"--eval-every", "4"})).out;
  const std::vector<double> losses = values("run", "val_loss");
  const std::regex last(
      "step 12/12  loss [0-9.]+  val ([0-9.]+) ([-+][0-9.]+)  .* tokens/s  0s left");
  std::smatch found;
  ASSERT_TRUE(std::regex_search(out, found, last)) << out;
  // The evaluation after this step is yet to come.
  EXPECT_NEAR(std::stod(found[1]), losses[1], 1e-4);
  EXPECT_NEAR(std::stod(found[2]), losses[1] - losses[0], 1e-4);
}

TEST_F(ProgressTest, AfterTheFirstStepsALineSaysHowLongItTakes) {
  const std::string out = succeed(tiny("run", 12)).out;
  EXPECT_EQ(count_lines(out, "time    about "), 1) << out;
  EXPECT_THAT(out,
              AllOf(HasSubstr("for the 7 steps that are left\n"), Not(HasSubstr("more start"))));
  // A job that has less time than that.
  support::ChildProcess child =
      start(command_for(1, tiny("long", 1'000'000)),
            {{"SLURM_JOB_END_TIME", std::to_string(std::time(nullptr) + 23)}});
  const ChildResult result = wait(child);
  EXPECT_THAT(
      result.out,
      testing::ContainsRegex("time    about [0-9hms]+ for the 999995 steps that are left, but this "
                             "start ends in [0-9]s: it takes about [0-9]+ more starts"));
}

TEST_F(ProgressTest, NormsByLayerAreInMetricsAndEvents) {
  const Arguments every = {"--norms-every", "4", "--family", "gpt2"};
  succeed(tiny("run", 9, every));
  const auto lines = metrics("run", "norms");
  ASSERT_EQ(steps_with("run", "norms"), (std::vector<int>{4, 8}));
  for (const auto& line : lines) {
    double squares = 0;
    for (const char* group : {"embeddings", "h.0", "h.1", "head"}) {
      const double norm = line.at("norms").at("gradient").at(group);
      squares += norm * norm;
      EXPECT_GT(line.at("norms").at("update").at(group), 0) << group;
    }
    EXPECT_NEAR(std::sqrt(squares) / line.at("grad_norm").get<double>(), 1, 1e-12);
  }
  EXPECT_THAT(events("run"), AllOf(HasSubstr("norm/gradient/h.0"), HasSubstr("norm/update/head")));
  succeed_on(2, tiny("ranks", 9, every));
  const auto on_ranks = metrics("ranks", "norms");
  ASSERT_EQ(on_ranks.size(), lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(on_ranks[i].at("norms"), lines[i].at("norms"));
  }
}

TEST_F(ProgressTest, RefusesWhatMakesNoSense) {
  expect_one_sentence(program(tiny("run", 3, {"--target-loss", "-1"})),
                      "--target-loss -1: give a loss above 0 in nats per token, or 0 for none");
  expect_one_sentence(program(tiny("run", 3, {"--sample-tokens", "0"})), "--sample-tokens 0: give");
  expect_one_sentence(program(tiny("run", 3, {"--patience", "few"})), "--patience few: give a");
  expect_one_sentence(program({"--verbose"}), "--verbose goes with --version");
}

}  // namespace
}  // namespace cllm::cli
