#include "cllm/cli/run/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::cli {
namespace {

using support::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

class FiguresTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    const std::filesystem::path path = scratch_.path() / "figures.json";
    std::ofstream(path) << text;
    return path;
  }
  std::string error_of_file(const std::string& text) {
    const std::filesystem::path path = write(text);
    return error_of([&] { FigureTable().read(path); });
  }

  support::ScratchDirectory scratch_;
};

FigureTable complete() {
  FigureTable table;
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, double>>{{"cores", 64},
                                                   {"core-gflops", 50},
                                                   {"update-gbyte", 200},
                                                   {"gbit", 25},
                                                   {"latency-us", 20}}) {
    table.set(name, value, Origin::kGiven);
  }
  return table;
}

TEST_F(FiguresTest, AreInTheUnitsOfTheirOptions) {
  const plan::Figures figures = complete().figures(2);
  EXPECT_EQ(figures.cores, 64);
  EXPECT_DOUBLE_EQ(figures.core_flops, 50e9);
  EXPECT_DOUBLE_EQ(figures.update_bytes, 200e9);
  EXPECT_DOUBLE_EQ(figures.costs.network.per_byte, 3.2e-10);
  EXPECT_DOUBLE_EQ(figures.costs.network.latency, 2e-5);
  EXPECT_DOUBLE_EQ(figures.costs.per_message, 2e-6);      // assumed
  EXPECT_DOUBLE_EQ(figures.costs.per_added_byte, 1e-10);  // assumed
  EXPECT_FALSE(figures.stolen_per_byte.has_value());
}

TEST_F(FiguresTest, WhatIsWrittenIsRead) {
  FigureTable written = complete();
  written.set("sum-ns", 1.25, Origin::kMeasured);
  FigureTable read;
  const auto path = write("{\"figures\": " + written.json() + "}");
  read.read(path);
  for (const Figure& figure : kFigures) {
    EXPECT_EQ(read.value(figure.name), written.value(figure.name)) << figure.name;
  }
  EXPECT_DOUBLE_EQ(*read.figures(2).stolen_per_byte, 1.25e-9);
  EXPECT_THAT(read.texts(Origin::kMeasured),
              testing::Contains("core-gflops 50 (" + path.string() + ")"));
}

TEST_F(FiguresTest, TheLaterWins) {
  FigureTable table = complete();
  table.read(write("{\"figures\": {\"cores\": 8}}"));
  EXPECT_EQ(table.value("cores"), 8);
  EXPECT_EQ(table.value("gbit"), 25);
  table.set("cores", 16, Origin::kGiven);
  EXPECT_EQ(table.figures(2).cores, 16);
}

TEST_F(FiguresTest, ThoseThatAreMissingAreNamed) {
  FigureTable table;
  EXPECT_THAT(error_of([&] { table.figures(1); }), HasSubstr("--cores is missing: give it, or"));
  table = FigureTable();
  for (const char* name : {"cores", "core-gflops", "update-gbyte"}) {
    table.set(name, 1, Origin::kGiven);
  }
  table.figures(1);  // one host needs no network
  EXPECT_THAT(error_of([&] { table.figures(2); }), HasSubstr("--latency-us is missing"));
  EXPECT_THAT(table.texts(Origin::kAssumed),
              ElementsAre("message-us 2", "add-gbyte 10", "copy-gbyte 10", "disk-gbyte 1"));
}

TEST_F(FiguresTest, ImpossibleOnesAreRefused) {
  FigureTable table = complete();
  table.set("cores", 2.5, Origin::kGiven);
  EXPECT_EQ(error_of([&] { table.figures(2); }), "--cores 2.5: give a whole number");
  table = complete();
  table.set("gbit", 0, Origin::kGiven);
  EXPECT_EQ(error_of([&] { table.figures(2); }), "--gbit 0: give a number above 0");
}

TEST_F(FiguresTest, FilesThatAreNoneAreRefused) {
  EXPECT_THAT(error_of_file("not JSON"), HasSubstr("has no figures; give a file that doctor"));
  EXPECT_THAT(error_of_file("{\"figures\": 3}"), HasSubstr("has no figures"));
  EXPECT_THAT(error_of_file("{\"figures\": {\"speed\": 3}}"), HasSubstr("a figure \"speed\""));
  EXPECT_THAT(error_of_file("{\"figures\": {\"cores\": \"x\"}}"),
              HasSubstr("cores isn't a number"));
  EXPECT_THAT(error_of_file(std::string(2 << 20, ' ')), HasSubstr("too large"));
  EXPECT_THAT(error_of([&] { FigureTable().read(scratch_.path() / "none"); }), HasSubstr("none"));
}

}  // namespace
}  // namespace cllm::cli
