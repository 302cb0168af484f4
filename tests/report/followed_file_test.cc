#include "cllm/report/followed_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cllm/base/error.h"
#include "support/scratch_directory.h"

namespace cllm::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

class FollowedFileTest : public testing::Test {
 protected:
  /// The lines since the last call; "again" where it begins anew.
  std::vector<std::string> read() {
    std::vector<std::string> lines;
    file_.read([&] { lines.emplace_back("again"); },
               [&](std::string_view line) { lines.emplace_back(line); });
    return lines;
  }
  void append(const std::string& text) const {
    std::ofstream(path(), std::ios::app | std::ios::binary) << text;
  }
  std::string path() const { return (scratch_.path() / "log").string(); }

  support::ScratchDirectory scratch_;
  FollowedFile file_{scratch_.path() / "log"};
};

TEST_F(FollowedFileTest, GivesLinesAsTheyCome) {
  EXPECT_THAT(read(), IsEmpty()) << "it isn't there";
  append("a\nb\nha");
  EXPECT_THAT(read(), ElementsAre("a", "b")) << "a line that is being written waits";
  EXPECT_THAT(read(), IsEmpty());
  append("lf\n\nc\n");
  EXPECT_THAT(read(), ElementsAre("half", "", "c"));
}

TEST_F(FollowedFileTest, BeginsAnewWhereLinesWereDropped) {
  append("a\nb\nc\n");
  read();
  std::filesystem::resize_file(path(), 2);
  EXPECT_THAT(read(), ElementsAre("again", "a"));
  // Another file in its place, as a run that goes back leaves it, and as long as before.
  scratch_.write("other", "x\n");
  std::filesystem::rename(scratch_.path() / "other", path());
  EXPECT_THAT(read(), ElementsAre("again", "x"));
  // The same file, shorter for a moment that nobody looked at.
  std::filesystem::resize_file(path(), 0);
  append("y\nz\n");
  EXPECT_THAT(read(), ElementsAre("again", "y", "z"));
  std::filesystem::remove(path());
  EXPECT_THAT(read(), ElementsAre("again"));
  append("n\n");
  EXPECT_THAT(read(), ElementsAre("n"));
}

TEST_F(FollowedFileTest, ALineWithoutEndTakesNoMemory) {
  append("a\n");
  const std::string piece(FollowedFile::kLongestLine / 2 + 1, 'x');
  append(piece);
  EXPECT_THAT(read(), ElementsAre("a"));
  append(piece);
  append(piece);
  EXPECT_THAT(read(), IsEmpty());
  append("the end of it\nb\n");
  EXPECT_THAT(read(), ElementsAre("b"));
  append(std::string(FollowedFile::kLongestLine, 'y'));
  append("\n");
  EXPECT_EQ(read().front().size(), FollowedFile::kLongestLine);
}

TEST_F(FollowedFileTest, WhatIsNoFileIsNamed) {
  std::filesystem::create_directory(path());
  EXPECT_THAT([&] { read(); }, ThrowsMessage<Error>(HasSubstr(path())));
}

}  // namespace
}  // namespace cllm::report
