#include "cllm/report/metrics.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace cllm::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr const char* kStep =
    R"({"step":3,"loss":2.5,"lr":0.125,"grad_norm":4,"tokens":96,"tokens_per_s":8,)"
    R"("seconds":{"compute":1,"communication":0.5,"hidden_communication":0.25,"update":2}})";
constexpr const char* kEvaluation =
    R"({"step":3,"val_loss":2.25,"val_tokens":10,"tokens":96,"seconds":{"evaluation":1.5},)"
    R"("sources":[{"data":"a.txt","val_loss":2,"val_tokens":4}]})";
constexpr const char* kStart =
    R"({"step":2,"start":{"time":1700000000,"version":"0.1.0","steps":20,"ranks":4,"threads":8,)"
    R"("hosts":2,"names":["a","b"],"job":"12_3"}})";

TEST(Metrics, ReadsWhatRunsWrite) {
  Metrics metrics;
  for (const char* line : {kStart, kStep, kEvaluation}) metrics.read(line);
  EXPECT_EQ(metrics.lines, 3u);
  EXPECT_EQ(metrics.loss.last()->value, 2.5);
  EXPECT_EQ(metrics.rate.last()->value, 0.125);
  EXPECT_EQ(metrics.norm.last()->value, 4);
  EXPECT_EQ(metrics.speed.last()->value, 8);
  EXPECT_EQ(metrics.compute.last()->value, 1);
  EXPECT_EQ(metrics.communication.last()->value, 0.5);
  EXPECT_EQ(metrics.hidden_communication.last()->value, 0.25);
  EXPECT_EQ(metrics.update.last()->value, 2);
  EXPECT_EQ(metrics.loss.last()->at.seconds, 3.5) << "hidden communication takes no time";
  EXPECT_EQ(metrics.validation.last()->value, 2.25);
  EXPECT_EQ(metrics.validation.last()->at.seconds, 5);
  EXPECT_EQ(metrics.sources.at("a.txt").last()->value, 2);
  EXPECT_EQ(metrics.at.tokens, 96);
  EXPECT_TRUE(metrics.has_node_hours);
  EXPECT_DOUBLE_EQ(metrics.at.node_hours, 2 * 5.0 / 3600);
  ASSERT_THAT(metrics.sittings.all(), SizeIs(1));
  const Start& start = *metrics.sittings.all().front().start;
  EXPECT_EQ(start.time, 1700000000);
  EXPECT_EQ(start.steps, 20u);
  EXPECT_EQ(start.ranks, 4u);
  EXPECT_THAT(start.names, ElementsAre("a", "b"));
  EXPECT_EQ(start.job, "12_3");
}

TEST(Metrics, TellsWhatAReaderShouldKnowOf) {
  Metrics metrics;
  for (const char* line :
       {R"({"step":4,"loss":9,"spike":"clipped"})", R"({"step":5,"loss":9,"overflowed":["a","b"]})",
        R"({"step":6,"replicas":"rank 1 differs"})",
        R"({"step":6,"rollback":{"to":5,"from":9,"norm":10.5}})",
        R"({"step":6,"checkpoint":"step-00000006.h5","bytes":5,"problem":"the disk is full"})",
        R"({"step":7,"checkpoint":"step-00000007.h5","bytes":5,"warning":"slow"})",
        R"({"step":8,"stop":{"time":1700000001,"why":"a signal asked for it"}})",
        R"({"step":8,"sample":{"prompt":"the","text":" river"}})"}) {
    metrics.read(line);
  }
  std::vector<std::string> kinds;
  for (const Event& event : metrics.events.all()) kinds.push_back(event.kind);
  EXPECT_THAT(kinds, ElementsAre("spike", "overflow", "ranks differed", "rollback", "not saved",
                                 "warning"));
  EXPECT_THAT(metrics.events.all()[3].text, HasSubstr("from step 9 to step 5"));
  ASSERT_THAT(metrics.saved.all(), SizeIs(1)) << "what failed is no checkpoint";
  EXPECT_EQ(metrics.saved.all().front().name, "step-00000007.h5");
  EXPECT_EQ(metrics.sittings.all().back().stop->why, "a signal asked for it");
  EXPECT_EQ(metrics.samples.all().front().text, " river");
}

TEST(Metrics, KeepsNormsByGroup) {
  Metrics metrics;
  metrics.read(
      R"({"step":1,"loss":2,"norms":{"gradient":{"head":1,"h.0":2},"update":{"head":0.5}}})");
  ASSERT_THAT(metrics.groups, SizeIs(2));
  EXPECT_EQ(metrics.groups[0].group, "head");
  EXPECT_EQ(metrics.groups[0].gradient.last()->value, 1);
  EXPECT_EQ(metrics.groups[0].update.last()->value, 0.5);
  EXPECT_TRUE(metrics.groups[1].update.empty());
  for (int i = 0; i < 200; ++i) {
    metrics.read(fmt::format(R"({{"step":1,"loss":2,"norms":{{"gradient":{{"g{}":1}}}}}})", i));
  }
  EXPECT_THAT(metrics.groups, SizeIs(kMostGroups));
}

TEST(Metrics, WithoutAStartNothingIsSaidOfNodeHours) {
  Metrics metrics;
  metrics.read(kStep);
  EXPECT_FALSE(metrics.has_node_hours);
  metrics.read(kStart);
  metrics.read(kStep);
  EXPECT_FALSE(metrics.has_node_hours) << "the first step's hosts are still unknown";
}

TEST(Metrics, ALossThatIsNoNumberIsCounted) {
  Metrics metrics;
  metrics.read(R"({"step":3,"loss":null,"tokens":96,"seconds":{"compute":1}})");
  EXPECT_EQ(metrics.not_finite, 1u);
  EXPECT_TRUE(metrics.loss.empty());
  EXPECT_EQ(metrics.at.step, 3u);
}

TEST(Metrics, WhatIsNotOursIsPassedOver) {
  Metrics metrics;
  const std::string deep(100'000, '[');
  for (const std::string& line :
       {std::string(), std::string("x"), std::string("[]"), std::string("{}"), std::string("null"),
        std::string("{\"step\":-1,\"loss\":1}"), std::string("{\"step\":\"1\",\"loss\":1}"),
        std::string("{\"step\":1e99,\"loss\":1}"), std::string("{\"step\":1,\"lo"),
        std::string(100, '\0'), std::string("{\"step\":1,\"loss\":1e999}"), deep,
        "{\"step\":" + deep}) {
    metrics.read(line);
  }
  EXPECT_EQ(metrics.lines, 0u);
  // Known keys with values of other kinds.
  for (const char* value :
       {"null", "true", "-5", "1e308", "\"x\"", "[]", "[1]", "{}", "{\"a\":{}}"}) {
    for (const char* key : {"loss",       "lr",       "grad_norm",  "tokens",   "tokens_per_s",
                            "seconds",    "val_loss", "sources",    "start",    "stop",
                            "sample",     "spike",    "overflowed", "replicas", "rollback",
                            "checkpoint", "problem",  "warning",    "norms",    "bytes"}) {
      metrics.read(fmt::format(R"({{"step":1,"loss":2,"val_loss":1,"{}":{}}})", key, value));
      metrics.read(fmt::format(R"({{"step":1,"{}":{}}})", key, value));
      metrics.read(fmt::format(
          R"({{"step":1,"{0}":{{"time":{1},"names":{1},"hosts":{1},"why":{1}}}}})", key, value));
      metrics.read(fmt::format(R"({{"step":1,"val_loss":1,"sources":[{{"data":{0},"{1}":{0}}}]}})",
                               value, key));
    }
  }
  EXPECT_GT(metrics.lines, 500u);
}

// Whatever bytes stand in a line, it is read or passed over.
TEST(Metrics, DamagedLinesAreReadToo) {
  std::mt19937 random(1);
  Metrics metrics;
  for (int i = 0; i < 20'000; ++i) {
    const std::vector<std::string> lines = {kStep, kEvaluation, kStart};
    std::string line = lines[random() % lines.size()];
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      line[random() % line.size()] = static_cast<char>(random());
    }
    metrics.read(line.substr(0, random() % 4 == 0 ? random() % line.size() : line.npos));
  }
  EXPECT_GT(metrics.lines, 500u);
}

TEST(Metrics, MemoryIsBounded) {
  Metrics metrics;
  const std::string text(100'000, 'x');
  for (int step = 1; step <= 2000; ++step) {
    metrics.read(fmt::format(
        R"({{"step":{0},"loss":1,"spike":"{1}","sample":{{"prompt":"{1}","text":"{1}"}}}})", step,
        step % 100 == 0 ? text : "a"));
    metrics.read(fmt::format(
        R"({{"step":{0},"val_loss":1,"sources":[{{"data":"{0}","val_loss":1}}]}})", step));
    metrics.read(fmt::format(R"({{"step":{},"start":{{"hosts":9}}}})", step));
  }
  EXPECT_THAT(metrics.events.all(), SizeIs(Newest<Event>::kMost));
  EXPECT_EQ(metrics.events.count(), 2000u);
  EXPECT_THAT(metrics.samples.all(), SizeIs(Newest<Sample>::kMost));
  EXPECT_THAT(metrics.sittings.all(), SizeIs(Newest<Sitting>::kMost));
  EXPECT_THAT(metrics.sources, SizeIs(kMostSources));
  for (const Event& event : metrics.events.all()) EXPECT_LT(event.text.size(), 2010u);
  for (const Sample& sample : metrics.samples.all()) EXPECT_LT(sample.text.size(), 2010u);
}

TEST(Metrics, TheNewestStepsSayHowItGoes) {
  Metrics metrics;
  for (int step = 1; step <= 100; ++step) {
    metrics.read(fmt::format(R"({{"step":{},"loss":{},"seconds":{{"compute":{}}}}})", step,
                             step <= 50 ? 9 : 2, step <= 50 ? 7 : 3));
  }
  EXPECT_EQ(metrics.recent_loss(), 2);
  EXPECT_EQ(metrics.recent_step_seconds(), 3);
}

}  // namespace
}  // namespace cllm::report
