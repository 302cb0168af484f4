#include "cllm/base/output.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <string>

namespace cllm {
namespace {

TEST(OutputTest, IsWrittenAtOnce) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  std::FILE* const stream = ::fdopen(ends[1], "w");
  put(stream, "a line\n");
  std::string text(7, '\0');
  EXPECT_EQ(::read(ends[0], text.data(), text.size()), 7);
  EXPECT_EQ(text, "a line\n");
  std::fclose(stream);
  ::close(ends[0]);
}

TEST(OutputTest, ThatNobodyReadsIsDropped) {
  outlive_readers();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  std::FILE* const stream = ::fdopen(ends[1], "w");
  for (int i = 0; i < 3; ++i) put(stream, std::string(10'000, 'x'));
  EXPECT_EQ(std::ferror(stream), 0);
  EXPECT_EQ(std::fclose(stream), 0);
  ::signal(SIGPIPE, SIG_DFL);
}

TEST(OutputTest, ThatHasNoRoomIsAnErrorOfTheStream) {
  std::FILE* const stream = std::fopen("/dev/full", "w");
  ASSERT_NE(stream, nullptr);
  put(stream, "x");
  EXPECT_NE(std::ferror(stream), 0);
  std::fclose(stream);
}

}  // namespace
}  // namespace cllm
