#include "cllm/train/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/train/progress.h"
#include "support/scratch_directory.h"

namespace cllm::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

MATCHER_P2(ScalarIs, tag, value, "") { return arg.tag == tag && arg.value == value; }

TEST(MetricsLog, TensorBoardIsShownItsNumbersBySubject) {
  const auto scalars = [](const char* line) {
    return scalars_of(nlohmann::ordered_json::parse(line));
  };
  EXPECT_THAT(scalars(R"({"step": 3, "loss": 2.5, "lr": 0.125, "grad_norm": 4, "tokens": 96,
                          "tokens_per_s": 8, "seconds": {"compute": 1, "update": 2}})"),
              ElementsAre(ScalarIs("loss/train", 2.5), ScalarIs("rate/learning", 0.125),
                          ScalarIs("norm/gradient", 4), ScalarIs("speed/tokens_per_s", 8),
                          ScalarIs("progress/tokens", 96), ScalarIs("seconds/compute", 1),
                          ScalarIs("seconds/update", 2)));
  EXPECT_THAT(scalars(R"({"step": 3, "val_loss": 2.25, "val_tokens": 10, "tokens": 96,
                          "seconds": {"evaluation": 3},
                          "sources": [{"data": "a.txt", "val_loss": 2, "val_tokens": 4}]})"),
              ElementsAre(ScalarIs("loss/validation", 2.25), ScalarIs("seconds/evaluation", 3),
                          ScalarIs("loss/validation/a.txt", 2)));
  EXPECT_THAT(
      scalars(R"({"step": 3, "checkpoint": "a.h5", "bytes": 5, "seconds": {"write": 1}})"),
      ElementsAre(ScalarIs("checkpoint/bytes", 5), ScalarIs("checkpoint/seconds_write", 1)));
  EXPECT_THAT(scalars(R"({"step": 3, "norms": {"gradient": {"head": 2, "h.0": 3},
                                                   "update": {"head": 0.5, "h.0": 0.25}}})"),
              ElementsAre(ScalarIs("norm/gradient/head", 2), ScalarIs("norm/gradient/h.0", 3),
                          ScalarIs("norm/update/head", 0.5), ScalarIs("norm/update/h.0", 0.25)));
  EXPECT_THAT(scalars(R"({"step": 3, "sample": {"prompt": "a", "text": "b"},
                          "seconds": {"sample": 1}})"),
              ElementsAre(ScalarIs("seconds/sample", 1)));
  EXPECT_THAT(scalars(R"({"step": 3, "replicas": "differ"})"), ElementsAre());
}

std::vector<std::uint64_t> steps_in(const std::filesystem::path& path) {
  std::vector<std::uint64_t> steps;
  std::istringstream text(read_file(path));
  for (std::string line; std::getline(text, line);) {
    steps.push_back(nlohmann::json::parse(line).at("step"));
  }
  return steps;
}

TEST(MetricsLog, WritesAnObjectALine) {
  const support::ScratchDirectory scratch;
  const auto path = scratch.path() / "metrics.jsonl";
  MetricsLog log(path, 0);
  log.step(1, 768, 768,
           {.loss = 2.5,
            .learning_rate = 1e-3,
            .gradient_norm = 0.5,
            .compute_seconds = 0.25,
            .communication_seconds = 0.125,
            .hidden_communication_seconds = 0.5,
            .update_seconds = 0.125});
  log.evaluation(1, 768, {.loss = 2.25, .positions = 100, .seconds = 3});
  std::istringstream text(read_file(path));
  std::string line;
  std::getline(text, line);
  const auto step = nlohmann::json::parse(line);
  EXPECT_EQ(step.at("loss"), 2.5);
  EXPECT_EQ(step.at("lr"), 1e-3);
  EXPECT_EQ(step.at("grad_norm"), 0.5);
  EXPECT_EQ(step.at("tokens"), 768);
  EXPECT_EQ(step.at("tokens_per_s"), 1536.0);
  EXPECT_EQ(step.at("seconds").at("communication"), 0.125);
  EXPECT_EQ(step.at("seconds").at("hidden_communication"), 0.5);
  std::getline(text, line);
  EXPECT_EQ(nlohmann::json::parse(line).at("val_loss"), 2.25);
}

TEST(MetricsLog, DropsWhatAResumedRunDoesAgain) {
  const support::ScratchDirectory scratch;
  const auto path = scratch.path() / "metrics.jsonl";
  {
    MetricsLog log(path, 0);
    for (std::uint64_t step = 1; step <= 5; ++step) log.step(step, step, 1, {});
  }
  std::ofstream(path, std::ios::app)
      << "{\"step\":\"x\"}\n[]\n{\"step\":6,\"lo";  // not ours, and cut off
  MetricsLog log(path, 3);
  log.step(4, 4, 1, {});
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 3, 4));
}

TEST(MetricsLog, StartsAndStopsStayWhateverIsDoneAgain) {
  const support::ScratchDirectory scratch;
  const auto path = scratch.path() / "metrics.jsonl";
  {
    MetricsLog log(path, 0);
    log.start(0, {.time = 7, .steps = 9, .ranks = 2, .job = "12", .version = "1"});
    for (std::uint64_t step = 1; step <= 5; ++step) log.step(step, step, 1, {});
    log.stop(5, 8, "a signal asked for it");
  }
  MetricsLog log(path, 3);
  log.start(3, {.time = 9, .steps = 9, .ranks = 40, .job = "", .version = "1"});
  log.step(4, 4, 1, {});
  log.go_back(2);
  EXPECT_THAT(steps_in(path), ElementsAre(0, 1, 2, 5, 3));
  std::istringstream text(read_file(path));
  std::string line;
  std::getline(text, line);
  EXPECT_EQ(nlohmann::json::parse(line).at("start").at("job"), "12");
  EXPECT_EQ(nlohmann::json::parse(line).at("start").at("steps"), 9);
}

TEST(MetricsLog, NamesAFewOfManyHosts) {
  const support::ScratchDirectory scratch;
  const auto path = scratch.path() / "metrics.jsonl";
  MetricsLog log(path, 0);
  const std::vector<std::string> hosts(1000, "node");
  log.start(0, {.time = 7, .steps = 9, .ranks = 2, .hosts = hosts, .job = "", .version = "1"});
  const auto start = nlohmann::json::parse(read_file(path)).at("start");
  EXPECT_EQ(start.at("hosts"), 1000);
  EXPECT_EQ(start.at("names").size(), 16u);
  EXPECT_FALSE(start.contains("job"));
}

TEST(MetricsLog, AFileThatCannotBeWrittenIsNamed) {
  EXPECT_THAT([] { MetricsLog log("/proc/metrics.jsonl", 0); },
              ThrowsMessage<Error>(HasSubstr("/proc/metrics.jsonl")));
}

// A text may hold anything, and what ends the line of a terminal or of Markdown among it.
TEST(MetricsLog, ASampleIsTextInItsEvents) {
  const support::ScratchDirectory scratch;
  {
    io::EventFile events(scratch.path() / "tensorboard", 1);
    MetricsLog log(scratch.path() / "metrics.jsonl", 0, &events);
    log.sample(3, {.prompt = "Once", .text = " upon\n```a\x1b[2J", .seconds = 0.5});
  }
  const auto line = nlohmann::json::parse(read_file(scratch.path() / "metrics.jsonl"));
  EXPECT_EQ(line.at("step"), 3);
  EXPECT_EQ(line.at("sample").at("prompt"), "Once");
  EXPECT_EQ(line.at("sample").at("text"), " upon\n```a\x1b[2J");
  const auto file = std::filesystem::directory_iterator(scratch.path() / "tensorboard")->path();
  EXPECT_THAT(read_file(file), HasSubstr("    Once upon\n    ```a\x1b[2J\n"));
}

TEST(MetricsLog, GoingBackKeepsWhatWasGoneBackFor) {
  const support::ScratchDirectory scratch;
  const auto path = scratch.path() / "metrics.jsonl";
  const auto rollbacks_in = [&] {
    std::vector<double> norms;
    std::istringstream text(read_file(path));
    for (std::string line; std::getline(text, line);) {
      const auto object = nlohmann::json::parse(line);
      if (object.contains("rollback")) norms.push_back(object["rollback"]["norm"]);
    }
    return norms;
  };
  {
    MetricsLog log(path, 0);
    for (std::uint64_t step = 1; step <= 6; ++step) log.step(step, 0, 1, {});
    log.go_back(4);
    log.rollback(4, 7, 10.5);
    log.step(5, 0, 1, {});
    log.go_back(4);
    log.rollback(4, 6, 11.5);
    EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 3, 4, 5, 5));
    EXPECT_THAT(rollbacks_in(), ElementsAre(10.5, 11.5));
    log.step(5, 0, 1, {});
  }
  // A run that resumes at step 4 comes by all of that again.
  const MetricsLog resumed(path, 4);
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 3, 4));
}

// Under a limit on file sizes, as on a full disk.
TEST(MetricsLog, LinesWaitUntilTheyCanBeWritten) {
  const support::ScratchDirectory scratch;
  const auto path = scratch.path() / "metrics.jsonl";
  MetricsLog log(path, 0);
  log.step(1, 0, 1, {});
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit{std::filesystem::file_size(path) + 20, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  log.step(2, 0, 1, {});
  log.step(3, 0, 1, {});
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(log.problem(), HasSubstr("metrics.jsonl"));
  EXPECT_THAT(steps_in(path), ElementsAre(1)) << "no half lines";
  log.step(4, 0, 1, {});
  EXPECT_EQ(log.problem(), "");
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace cllm::train
