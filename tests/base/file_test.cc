#include "cllm/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "cllm/base/error.h"
#include "support/scratch_directory.h"

namespace cllm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::ThrowsMessage;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::size_t files_in(const fs::path& directory) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(File, IsWrittenReadAndMapped) {
  const support::ScratchDirectory scratch;
  const fs::path path = scratch.path() / "file";
  for (const std::string& text :
       {std::string("some text"), std::string(), std::string(100000, 'x')}) {
    write_atomically(path, bytes_of(text));
    EXPECT_EQ(read_file(path), text);
    const MappedFile mapped(path);
    EXPECT_EQ(
        std::string(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()),
        text);
  }
  EXPECT_EQ(files_in(scratch.path()), 1u);
}

TEST(File, AWriterThatDoesNotCommitLeavesWhatWasThere) {
  const support::ScratchDirectory scratch;
  const fs::path path = scratch.path() / "file";
  write_atomically(path, bytes_of("old"));
  {
    AtomicFile file(path);
    std::ofstream(file.temporary()) << "half";
    file.sync();
    EXPECT_EQ(files_in(scratch.path()), 2u);
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(files_in(scratch.path()), 1u);
}

TEST(File, APipeThatNobodyWritesIsRefusedAndNotWaitedFor) {
  const support::ScratchDirectory scratch;
  const fs::path pipe = scratch.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT([&] { read_file(pipe); }, ThrowsMessage<Error>(HasSubstr("not a regular file")));
}

TEST(File, ErrorsNameTheFile) {
  const support::ScratchDirectory scratch;
  const fs::path missing = scratch.path() / "missing";
  EXPECT_THAT([&] { MappedFile file(missing); }, ThrowsMessage<Error>(HasSubstr(missing.string())));
  EXPECT_THAT([&] { read_file(missing); }, ThrowsMessage<Error>(HasSubstr(missing.string())));
  EXPECT_THAT([&] { read_file(scratch.path()); },
              ThrowsMessage<Error>(HasSubstr("not a regular file")));
  EXPECT_THAT([&] { write_atomically(missing / "below", bytes_of("x")); },
              ThrowsMessage<Error>(HasSubstr("missing")));
  EXPECT_THAT([&] { AtomicFile(missing).sync(); },
              ThrowsMessage<Error>(HasSubstr(missing.string())));
  write_atomically(missing, bytes_of("a file"));
  EXPECT_THAT([&] { make_directories(missing / "below"); },
              ThrowsMessage<Error>(HasSubstr("below")));
}

TEST(File, WhatKilledWritersLeftIsRemovedAndNothingElse) {
  const support::ScratchDirectory scratch;
  // Stands for a writer that never came back.
  const fs::path unfinished = AtomicFile(scratch.path() / "file").temporary();
  for (const std::string& name : {unfinished.filename().string(), std::string("file"),
                                  std::string(".hidden"), std::string("x.cllm-tmp")}) {
    scratch.write(name, "text");
  }
  remove_unfinished(scratch.path());
  EXPECT_FALSE(fs::exists(unfinished));
  EXPECT_EQ(files_in(scratch.path()), 3u);
  remove_unfinished(scratch.path() / "absent");
}

}  // namespace
}  // namespace cllm
