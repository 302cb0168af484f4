#include <signal.h>

#include <cstdlib>
#include <regex>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using support::ChildProcess;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

/// What people look at while a run goes on, and after it.
class ReportTest : public ProgramTest {
 protected:
  /// Numbers that a page gives with all of their digits.
  std::vector<double> exact_numbers(const std::string& page) const {
    std::vector<double> numbers;
    const std::string text = read(page);
    const std::regex pattern("<data value=\"([^\"]*)\">");
    for (auto each = std::sregex_iterator(text.begin(), text.end(), pattern);
         each != std::sregex_iterator(); ++each) {
      numbers.push_back(std::stod((*each)[1]));
    }
    return numbers;
  }
};

TEST_F(ReportTest, TellsOfEachStartAndStop) {
  const ChildResult stopped =
      program(tiny("run", 1'000'000, {"--max-time", "1s", "--eval-every", "1000000"}));
  ASSERT_EQ(stopped.exit_code, 75) << stopped.out;
  const int last = steps_with("run", "loss").back();
  succeed_on(2, {"--resume", "run", "--max-time", "9h", "--steps", std::to_string(last + 2)});
  const auto starts = metrics("run", "start"), stops = metrics("run", "stop");
  ASSERT_EQ(starts.size(), 2u);
  ASSERT_EQ(stops.size(), 1u);
  EXPECT_EQ(starts[0].at("step"), 0);
  EXPECT_EQ(starts[0].at("start").at("ranks"), 1);
  EXPECT_EQ(starts[0].at("start").at("steps"), 1'000'000);
  EXPECT_EQ(starts[1].at("start").at("steps"), last + 2);
  EXPECT_EQ(starts[0].at("start").at("hosts"), 1);
  EXPECT_EQ(starts[1].at("step"), stops[0].at("step"));
  EXPECT_EQ(starts[1].at("start").at("ranks"), 2);
  EXPECT_GE(starts[1].at("start").at("time"), stops[0].at("stop").at("time"));
  EXPECT_EQ(stops[0].at("stop").at("why"), "the time is up");
}

TEST_F(ReportTest, HasTheNumbersOfTheRun) {
  succeed(tiny("run", 12, {"--eval-every", "4"}));
  EXPECT_THAT(succeed({"report", "run", "--out", "page.html"}).out, HasSubstr("wrote page.html"));
  EXPECT_THAT(exact_numbers("page.html"), IsSupersetOf(values("run", "val_loss")));
  EXPECT_THAT(exact_numbers("page.html"), IsSupersetOf({values("run", "loss").back()}));

  // A report is written again, and what is none stays.
  succeed({"report", "run", "--out", "page.html"});
  write("notes.html", "<html>mine</html>");
  expect_one_sentence(program({"report", "run", "--out", "notes.html"}),
                      "notes.html .*--overwrite");
  EXPECT_EQ(read("notes.html"), "<html>mine</html>");
  succeed({"report", "run", "--out", "notes.html", "--overwrite"});
  expect_one_sentence(program({"report", "run", "--out", "."}), "is a directory");
  expect_one_sentence(program({"report", "absent"}), "absent");
  expect_one_sentence(program({"report"}), "run is required");
  write("empty/file", "");
  expect_one_sentence(program({"report", "empty"}), "empty holds no run");
}

TEST_F(ReportTest, OfASweepHasTheBestFirst) {
  succeed(tiny("sweep/1", 4, {"--lr", "0.00001"}));
  succeed(tiny("sweep/2", 4));
  succeed({"report", "sweep"});
  const std::string page = read("report.html");
  EXPECT_THAT(page, HasSubstr("2 complete"));
  EXPECT_THAT(page, HasSubstr("<code>lr</code>"));
  EXPECT_LT(page.find("A</span>2</td>"), page.find("B</span>1</td>"));
  EXPECT_THAT(succeed({"watch", "sweep"}).out, HasSubstr("1             complete       4  100%"));
}

// From another node: no MPI, and nothing of the run's is touched.
TEST_F(ReportTest, WatchNeedsNoMpiAndOnlyReads) {
  ChildProcess child = start(Arguments{CLLM_PROGRAM} + tiny("run", 1'000'000));
  ASSERT_TRUE(support::wait_until(
      [&] {
        return std::filesystem::exists(path("run/metrics.jsonl")) &&
               read("run/metrics.jsonl").find("\"loss\"") != std::string::npos;
      },
      kPatience));
  const Environment broken = {{"OMPI_MCA_btl", "none"}, {"OMPI_MCA_ess", "none"}, {"LC_ALL", "C"}};
  const ChildResult shown = run({CLLM_PROGRAM, "watch", "run"}, broken);
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("running"));
  EXPECT_THAT(shown.out, HasSubstr("of 1,000,000"));
  EXPECT_THAT(shown.out, Not(HasSubstr("\x1b")));
  for (const std::string& line : lines_of(shown.out)) EXPECT_LE(line.size(), 80u);
  child.signal(SIGTERM);
  EXPECT_EQ(wait(child).exit_code, 75);
  const std::vector<std::string> files = files_in("run");
  EXPECT_THAT(succeed({"watch", "run"}).out, HasSubstr("a signal asked for it"));
  EXPECT_EQ(files_in("run"), files);
}

TEST_F(ReportTest, WatchGoesOnAtATerminalUntilItIsInterrupted) {
  succeed(tiny("run", 3));
  std::filesystem::remove(path("run/complete"));
  // The shell gives the program the terminal of `script`, and interrupts it after some pictures.
  const std::string line = "stty cols 80 rows 30; timeout --foreground -s INT 3 '" +
                           std::string(CLLM_PROGRAM) + "' watch run --every 1s; echo $? > code";
  const ChildResult result = run({"script", "-qfec", line, "/dev/null"}, {{"LC_ALL", "C.UTF-8"}});
  EXPECT_EQ(read("code"), "124\n") << "timeout's own code, where what it started ends in time";
  std::ptrdiff_t pictures = 0;
  for (std::size_t at = 0; (at = result.out.find("step 3 of 3", at)) != std::string::npos; ++at) {
    ++pictures;
  }
  EXPECT_GE(pictures, 2);
  EXPECT_THAT(result.out, HasSubstr("A\r")) << "goes up to where the picture began";

  expect_one_sentence(program({"watch", "run", "--every", "0s"}), "--every 0s: give a time");
}

TEST_F(ReportTest, WatchAsksSlurmButNotForLong) {
  succeed(tiny("run", 3));
  std::filesystem::remove(path("run/complete"));
  const std::string log = read("run/metrics.jsonl");
  const auto watch = [&](const std::string& job, const std::string& squeue) {
    write("run/metrics.jsonl",
          log + R"({"step":3,"start":{"time":1,"steps":9,"ranks":1,"job":")" + job + "\"}}\n");
    std::filesystem::permissions(write("bin/squeue", "#!/bin/sh\n" + squeue + "\n"),
                                 std::filesystem::perms::owner_all);
    return run({CLLM_PROGRAM, "watch", "run"},
               {{"PATH", path("bin").string() + ":" + std::getenv("PATH")}})
        .out;
  };
  EXPECT_THAT(watch("77_3", "echo RUNNING 1:00 None"), HasSubstr("job 77_3: RUNNING, 1:00 left"));
  EXPECT_THAT(watch("77", "echo PENDING 2:00 Resources"), HasSubstr("queued"));
  EXPECT_THAT(watch("77", "sleep 100"), HasSubstr("job 77: squeue doesn't know it"));
  EXPECT_THAT(watch("7; touch broken", "echo RUNNING 1:00 None"), HasSubstr("doesn't know it"));
  EXPECT_FALSE(std::filesystem::exists(path("broken"))) << "a job's name is no command";
}

TEST_F(ReportTest, OneRankOfALaunchDoesIt) {
  succeed(tiny("run", 3));
  const ChildResult result = program_on(2, {"watch", "run"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(count_lines(result.out, "step 3 of 3"), 1) << result.out;
}

}  // namespace
}  // namespace cllm::cli
