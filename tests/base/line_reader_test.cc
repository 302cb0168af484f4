#include "cllm/base/line_reader.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/interrupt.h"

namespace cllm {
namespace {

using Result = LineReader::Result;

class LineReaderTest : public testing::Test {
 protected:
  LineReaderTest() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  ~LineReaderTest() override {
    ::close(ends_[0]);
    close_input();
  }

  void send(std::string_view text) const {
    EXPECT_EQ(::write(ends_[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void close_input() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }
  LineReader reader() const { return LineReader(ends_[0]); }

  static void expect_line(LineReader& reader, const std::string& expected) {
    std::string line = "before";
    EXPECT_EQ(reader.next(line), Result::kLine);
    EXPECT_EQ(line, expected);
  }
  static void expect_end(LineReader& reader) {
    std::string line;
    EXPECT_EQ(reader.next(line), Result::kEnd);
  }

 private:
  std::array<int, 2> ends_{};
};

TEST_F(LineReaderTest, GivesLinesHoweverTheyComeIn) {
  LineReader lines = reader();
  send("one\n\ntw");
  expect_line(lines, "one");
  expect_line(lines, "");
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    send("o\r\n");
  });
  expect_line(lines, "two");
  later.join();
  const std::string longest(20000, 'x');
  send(longest);
  send("\nlast");
  close_input();
  expect_line(lines, longest);
  expect_line(lines, "last");
  expect_end(lines);
  expect_end(lines);
}

TEST_F(LineReaderTest, ASignalEndsTheWaitingAndLosesNothing) {
  const Interrupt interrupt;
  LineReader lines = reader();
  send("be");
  std::atomic<bool> is_done = false;
  const pthread_t waiting = ::pthread_self();
  // Until it is seen: a signal may come before the wait.
  std::thread signals([&] {
    while (!is_done) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (!is_done) ::pthread_kill(waiting, SIGINT);
    }
  });
  std::string line = "unchanged";
  EXPECT_EQ(lines.next(line), Result::kInterrupted);
  is_done = true;
  signals.join();
  EXPECT_EQ(line, "unchanged");
  EXPECT_TRUE(interrupt.came());
  send("gin\n");
  expect_line(lines, "begin");
}

TEST(LineReader, SaysWhereItCannotRead) {
  LineReader lines(1000000);
  std::string line;
  EXPECT_THROW(lines.next(line), Error);
}

}  // namespace
}  // namespace cllm
