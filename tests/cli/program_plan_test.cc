#include <cmath>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;

class PlanTest : public ProgramTest {
 protected:
  static Arguments figures() {
    return {"--cores", "8",  "--core-gflops", "50", "--update-gbyte", "40",
            "--gbit",  "10", "--latency-us",  "30"};
  }
  static Arguments small() {
    return {"plan",  "--preset",     "small", "--family", "gpt2",  "--optimizer",
            "adamw", "--vocabulary", "4096",  "--hosts",  "1,2,16"};
  }
  json plan(const Arguments& more = {}) const {
    return json::parse(succeed(small() + figures() + Arguments{"--json"} + more).out);
  }
};

TEST_F(PlanTest, PrintsATable) {
  const std::string out = succeed(small() + figures()).out;
  EXPECT_THAT(out, HasSubstr("plan      small (gpt2, 4 layers, 4 heads, 256 channels"));
  EXPECT_THAT(out, HasSubstr("given     cores 8, core-gflops 50, update-gbyte 40, gbit 10"));
  EXPECT_THAT(out, ContainsRegex("\nassumed   message-us 2, .*\n.*tokens as frequent as in text"));
  EXPECT_THAT(out, ContainsRegex("\nhosts +each +batch +block +step +tokens/s"));
  EXPECT_THAT(out,
              ContainsRegex("\n    1     1 +[0-9]+ +[0-9]+ +[0-9.]+ ms +[0-9,]+ +0.0 % +100.0 %"));
  EXPECT_THAT(out, ContainsRegex("\n   16     [1-8] .* [0-9.]+ % "));
  EXPECT_THAT(out, ContainsRegex("\npauses    a checkpoint of 5.* MB stops training for"));
  for (const std::string& line : lines_of(out)) EXPECT_LE(line.size(), 200u) << line;
}

TEST_F(PlanTest, JsonSaysTheSame) {
  const json all = plan();
  ASSERT_EQ(all["plan"].size(), 3u);
  const json& one = all["plan"][0];
  EXPECT_EQ(one["hosts"], 1);
  EXPECT_EQ(one["exposed_seconds"], 0);
  EXPECT_EQ(one["efficiency"], 1);
  EXPECT_EQ(one["batch"], 4);
  for (const json& row : all["plan"]) {
    EXPECT_NEAR(row["tokens_per_s"].get<double>(),
                row["batch"].get<double>() * 128 / row["step_seconds"].get<double>(), 0.1);
    EXPECT_NEAR(row["node_hours"].get<double>(),
                row["hours"].get<double>() * row["hosts"].get<double>(), 1e-6);
    EXPECT_LE(row["efficiency"].get<double>(), 1);
  }
  EXPECT_EQ(all["plan"][2]["buckets"].front()["groups"], "head");
  EXPECT_EQ(all["plan"][2]["buckets"].back()["groups"], "embeddings");
  EXPECT_EQ(all["plan"][0]["buckets"].size(), 0u);
  EXPECT_EQ(all["figures"]["gbit"], 10);
}

// A link a thousand times as fast hides nothing less.
TEST_F(PlanTest, FiguresDecide) {
  const double slow = plan({"--gbit", "0.1"})["plan"][2]["efficiency"];
  const double fast = plan({"--gbit", "100"})["plan"][2]["efficiency"];
  EXPECT_LT(slow, 0.5);
  EXPECT_GT(fast, slow);
  const double peak = plan()["plan"][0]["compute_seconds"];
  const json other = json::parse(
      succeed(small() + Arguments{"--cores", "8", "--peak-gflops", "50", "--share-of-peak", "0.5",
                                  "--update-gbyte", "40", "--hosts", "1", "--json"})
          .out);
  EXPECT_NEAR(other["plan"][0]["compute_seconds"].get<double>(), 2 * peak, 1e-9);
}

TEST_F(PlanTest, TheModelMayComeFromARunsConfiguration) {
  write("config.toml",
        "preset = \"small\"\nfamily = \"gpt2\"\noptimizer = \"adamw\"\nlayers = 2\nsteps = 100\n");
  const json all = json::parse(succeed(Arguments{"plan", "--config", "config.toml", "--vocabulary",
                                                 "4096", "--hosts", "1", "--json"} +
                                       figures())
                                   .out);
  EXPECT_THAT(all["model"].get<std::string>(), HasSubstr("small (gpt2, 2 layers"));
  EXPECT_EQ(all["optimizer"], "adamw");
}

TEST_F(PlanTest, WhatIsMissingOrImpossibleIsSaidInASentence) {
  expect_one_sentence(program(small()), "--cores is missing");
  expect_one_sentence(program(small() + figures() + Arguments{"--gbit", "0"}), "--gbit 0");
  expect_one_sentence(program(small() + figures() + Arguments{"--hosts", "1,x"}), "--hosts 1,x");
  expect_one_sentence(program(small() + figures() + Arguments{"--hosts", "0"}), "--hosts 0");
  expect_one_sentence(program(small() + figures() + Arguments{"--peak-gflops", "90"}),
                      "each says how fast a core is");
  expect_one_sentence(program(small() + figures() + Arguments{"--figures", "none.json"}),
                      "none.json");
  expect_one_sentence(program(small() + figures() + Arguments{"--host-batch", "0"}),
                      "--host-batch 0");
}

TEST_F(PlanTest, DoctorWritesWhatPlanReads) {
  const Arguments doctor = {CLLM_PROGRAM, "doctor", "--preset",    "tiny",      "--threads",
                            "1",          "--out",  "results/run", "--figures", "one.json"};
  EXPECT_EQ(run(doctor).exit_code, 0);
  const json file = json::parse(read("one.json"));
  EXPECT_EQ(file["figures"]["cores"], 1);
  EXPECT_GT(file["figures"]["core-gflops"].get<double>(), 0.1);
  EXPECT_EQ(file["measured_with"]["hosts"], 1);
  const std::string out =
      succeed({"plan", "--preset", "tiny", "--figures", "one.json", "--hosts", "1"}).out;
  EXPECT_THAT(out, HasSubstr("measured  cores 1 (one.json)"));
  // Nothing is written over.
  expect_one_sentence(run(doctor), "--figures one.json exists already");
}

TEST_F(PlanTest, DoctorMeasuresSumsOfTwoRanks) {
  const Arguments doctor = {CLLM_PROGRAM, "doctor", "--preset",    "tiny",      "--threads",
                            "1",          "--out",  "results/run", "--figures", "two.json"};
  EXPECT_EQ(run(mpirun() + Arguments{"-np", "2"} + doctor).exit_code, 0);
  const json figures = json::parse(read("two.json"))["figures"];
  EXPECT_EQ(figures["cores"], 2);
  EXPECT_GT(figures["add-gbyte"].get<double>(), 0.1);
  EXPECT_FALSE(figures.contains("gbit"));  // one host
}

}  // namespace
}  // namespace cllm::cli
