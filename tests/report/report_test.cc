#include "cllm/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "example_run.h"
#include "support/scratch_directory.h"
#include "well_formed.h"

namespace cllm::report {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kNow = 1700001000;

class ReportTest : public testing::Test {
 protected:
  std::string report(const std::vector<std::string>& names) const {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back((scratch_.path() / name).string());
    std::vector<RunRecord> runs = find_runs(paths);
    for (RunRecord& run : runs) run.refresh(std::time(nullptr));
    std::string page = report_page(runs, kNow, "0.1.0");
    EXPECT_EQ(malformed(page), "");
    // It loads nothing.
    EXPECT_THAT(page,
                AllOf(Not(HasSubstr("http")), Not(HasSubstr("src=")), Not(HasSubstr("url("))));
    return page;
  }

  support::ScratchDirectory scratch_;
};

TEST_F(ReportTest, HasWhatARunWrote) {
  write_example(scratch_, "run", 100, 100);
  const std::string page = report({"run"});
  for (const char* text :
       {"<h1>run</h1>", "complete", "2.1400", "at step 100", "node1", "step-00000100.h5",
        "id=\"by-steps\"", "id=\"by-tokens\"", "id=\"by-time\"", "id=\"by-node-hours\"",
        "class=\"area c0\"", "min-lr", "<data value=\"2.14\">2.1400</data>", "prefers-color-scheme",
        "@media print"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  EXPECT_THAT(page, Not(HasSubstr("What differs")));
}

TEST_F(ReportTest, OverlaysRunsAndSaysWhatDiffers) {
  write_example(scratch_, "sweep/1", 100, 100, 0.5, "lr = 0.001\n");
  write_example(scratch_, "sweep/2", 100, 100, 0.25, "lr = 0.003\n");
  write_example(scratch_, "sweep/3", 50, 100, 0, "lr = 0.010\n");
  const std::string page = report({"sweep"});
  EXPECT_THAT(page, HasSubstr("<h1>3 runs</h1>"));
  EXPECT_THAT(page, HasSubstr("1 running, 2 complete"));
  EXPECT_THAT(page, HasSubstr("<code>lr</code>"));
  EXPECT_THAT(page, Not(HasSubstr("<th><code>preset</code>")));
  // The best first: its letter is A.
  const std::size_t table = page.find("Best by validation");
  const auto place = [&](const std::string& name) {
    return page.find("</span>" + name + "</td>", table);
  };
  EXPECT_LT(place("3"), place("2"));
  EXPECT_LT(place("2"), place("1"));
  EXPECT_THAT(page.substr(page.find("class=\"legend\""), 300),
              HasSubstr("<span class=\"key c0\">A</span>3"));
}

TEST_F(ReportTest, TextsOfFilesAreNoHtml) {
  const std::string bad = "<script>alert(1)</script>";
  write_example(scratch_, "run", 10, 100, 0, "data = \"" + bad + "\"\n" + bad + " = \"&\"\n");
  scratch_.write(
      "run/metrics.jsonl",
      example_metrics(10, 100) +
          fmt::format(R"({{"step":10,"replicas":"{0}"}})"
                      "\n"
                      R"({{"step":10,"sample":{{"prompt":"{0}","text":"{0}"}}}})"
                      "\n"
                      R"({{"step":10,"stop":{{"why":"{0}","time":1}}}})"
                      "\n"
                      R"({{"step":10,"start":{{"job":"{0}","names":["{0}"],"version":"{0}"}}}})"
                      "\n"
                      R"({{"step":10,"val_loss":3,"sources":[{{"data":"{0}","val_loss":1}}]}})"
                      "\n",
                      bad));
  const std::string page = report({"run"});
  EXPECT_THAT(page, Not(HasSubstr(bad)));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

TEST_F(ReportTest, IsOfBoundedSize) {
  // A curve of a million steps is tested with Curve; here each curve is as long as it can be.
  write_example(scratch_, "a", 3000, 3000);
  const std::size_t one = report({"a"}).size();
  EXPECT_LT(one, 2'000'000u);
  for (int i = 0; i < 70; ++i) write_example(scratch_, fmt::format("many/{}", i), 300, 300);
  EXPECT_LT(report({"many"}).size(), 20 * one);
}

TEST_F(ReportTest, AnOldOrEmptyRunIsShownToo) {
  scratch_.write("run/config.toml", "steps = 7\n");
  EXPECT_THAT(report({"run"}), AllOf(HasSubstr("of 7"), HasSubstr("No step is taken yet")));
  std::string old = example_metrics(20, 20);
  old.erase(0, old.find('\n') + 1);
  scratch_.write("run/metrics.jsonl", old);
  const std::string page = report({"run"});
  EXPECT_THAT(page, Not(HasSubstr("id=\"by-node-hours\"")));
  EXPECT_THAT(page, HasSubstr("Not against node-hours"));
}

TEST_F(ReportTest, IsKnownByItsBeginning) {
  write_example(scratch_, "run", 10, 10);
  const std::string ours = scratch_.write("report.html", report({"run"}));
  EXPECT_TRUE(is_report(ours));
  EXPECT_FALSE(is_report(scratch_.write("page.html", "<!DOCTYPE html>\n<html></html>\n")));
  EXPECT_FALSE(is_report(scratch_.write("nothing", "")));
}

}  // namespace
}  // namespace cllm::report
