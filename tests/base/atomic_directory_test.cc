#include "cllm/base/atomic_directory.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "cllm/base/error.h"
#include "support/scratch_directory.h"

namespace cllm {
namespace {

namespace fs = std::filesystem;

class AtomicDirectoryTest : public testing::Test {
 protected:
  std::ptrdiff_t entries() const {
    return std::distance(fs::directory_iterator(scratch_.path()), fs::directory_iterator());
  }
  support::ScratchDirectory scratch_;
  const fs::path path_ = scratch_.path() / "model";
};

TEST_F(AtomicDirectoryTest, AppearsWithAllItsFiles) {
  AtomicDirectory directory(path_);
  std::ofstream(directory.temporary() / "file") << "text";
  EXPECT_FALSE(fs::exists(path_));
  directory.commit();
  EXPECT_EQ(fs::file_size(path_ / "file"), 4U);
  EXPECT_EQ(entries(), 1);
}

TEST_F(AtomicDirectoryTest, IsGoneWithoutACommit) {
  {
    const AtomicDirectory directory(path_);
    std::ofstream(directory.temporary() / "file") << "text";
    EXPECT_EQ(entries(), 1);
  }
  EXPECT_EQ(entries(), 0);
}

TEST_F(AtomicDirectoryTest, TakesNobodysPlace) {
  AtomicDirectory directory(path_);
  fs::create_directory(path_);  // an empty one too
  EXPECT_THROW(directory.commit(), Error);
  EXPECT_TRUE(fs::is_empty(path_));
}

TEST_F(AtomicDirectoryTest, NeedsAPlaceToBe) {
  EXPECT_THROW(AtomicDirectory(scratch_.path() / "none" / "model"), Error);
}

}  // namespace
}  // namespace cllm
