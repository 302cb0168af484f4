#include "cllm/base/file_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>

#include "cllm/base/error.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm {
namespace {

using testing::HasSubstr;

class FileLockTest : public testing::Test {
 protected:
  support::ScratchDirectory scratch_;
  const std::filesystem::path path_ = scratch_.path() / ".lock";
};

TEST_F(FileLockTest, OneAtATimeAndTheHolderIsNamed) {
  FileLock lock(path_);
  EXPECT_TRUE(lock.is_held());
  const std::string message = support::error_of([&] { FileLock second(path_); });
  EXPECT_THAT(message, HasSubstr(path_.string()));
  EXPECT_THAT(message, HasSubstr("process " + std::to_string(::getpid()) + " on host "));
  FileLock moved = std::move(lock);
  EXPECT_FALSE(lock.is_held());
  EXPECT_THROW(FileLock{path_}, Error);
  moved = {};
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_TRUE(FileLock(path_).is_held());
}

TEST_F(FileLockTest, WhatADeadProcessLeftIsTakenOver) {
  scratch_.write(".lock", "process 1 on host of long ago");
  {
    const FileLock lock(path_);
    EXPECT_THAT(support::error_of([&] { FileLock second(path_); }),
                HasSubstr("process " + std::to_string(::getpid())));
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(FileLockTest, AFileThatTookItsPlaceIsNotRemoved) {
  {
    const FileLock lock(path_);
    std::filesystem::remove(path_);
    scratch_.write(".lock", "of another");
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(FileLockTest, ADirectoryThatIsNotThereIsAnError) {
  const auto absent = scratch_.path() / "absent" / ".lock";
  EXPECT_THAT(support::error_of([&] { FileLock lock(absent); }), HasSubstr("absent"));
}

}  // namespace
}  // namespace cllm
