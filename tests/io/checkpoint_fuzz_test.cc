#include "hdf5_fuzz_fixture.h"

// No file here is larger than a tenth of the limit, beyond which HDF5's malloc returns null and our
// new ends the program. HDF5 1.10 loses memory where it gives up on a file.
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=4:allocator_may_return_null=1:detect_leaks=0";
}

namespace cllm::io {
namespace {

const std::filesystem::path kVersion1 = CLLM_TESTS_DIR "/golden/checkpoint_v1.h5";

class CheckpointFuzzTest : public Hdf5FuzzTest {
 protected:
  CheckpointFuzzTest() {
    content_.write(path_);
    std::filesystem::copy_file(path_, elsewhere_);
  }

  const Content content_ = random_content(kFactorisedModel, 1);
};

TEST_F(CheckpointFuzzTest, TruncatedAtEveryPage) {
  constexpr std::size_t kPage = 4096;
  const std::string whole = read_file(path_);
  for (std::size_t size = 0; size < whole.size(); size += kPage) {
    write(whole.substr(0, size));
    const std::string complaint = in_a_process([&] {
      std::string found = judge(content_);
      if (reads(path_, found, [&] { read_run_state(path_); })) found += "accepted; ";
      return found;
    });
    EXPECT_EQ(complaint, "") << size << " bytes";
  }
}

TEST_F(CheckpointFuzzTest, SpoiledBytes) {
  const std::string whole = read_file(path_);
  fuzz(
      1, [&](RandomStream& random) { spoil_bytes(whole, random); },
      [&] { return judge(content_); });
}

TEST_F(CheckpointFuzzTest, SpoiledBytesOfVersion1) {
  const std::string whole = read_file(kVersion1);
  const Content expected = read_all(kVersion1, read_run_state(kVersion1).model);
  fuzz(
      4, [&](RandomStream& random) { spoil_bytes(whole, random); },
      [&] { return judge(expected); });
}

TEST_F(CheckpointFuzzTest, SpoiledMetadataWithRightChecksums) {
  const std::string whole = read_file(path_);
  const auto blocks = checked_blocks(whole);
  ASSERT_GT(blocks.size(), 100u);
  fuzz(
      2, [&](RandomStream& random) { spoil_metadata(whole, blocks, random); },
      [&] { return judge(content_); });
}

// Version 1 has nothing to tell by that a name or an attribute was changed, so all that is asked
// for is a proper end.
TEST_F(CheckpointFuzzTest, SpoiledMetadataOfVersion1WithRightChecksums) {
  const std::string whole = read_file(kVersion1);
  const Content expected = read_all(kVersion1, read_run_state(kVersion1).model);
  const auto blocks = checked_blocks(whole);
  fuzz(
      8, [&](RandomStream& random) { spoil_metadata(whole, blocks, random); },
      [&] { return judge(expected, false); });
}

TEST_F(CheckpointFuzzTest, SpoiledCheckpointsOfBands) {
  const Content content = random_content(kBandedModel, 2);
  content.write(path_);
  const std::string whole = read_file(path_);
  const auto blocks = checked_blocks(whole);
  fuzz(
      4, [&](RandomStream& random) { spoil_metadata(whole, blocks, random); },
      [&] { return judge(content); });
  fuzz(
      6, [&](RandomStream& random) { spoil_through_hdf5(whole, random); },
      [&] { return judge(content); });
}

TEST_F(CheckpointFuzzTest, ChangedThroughHdf5) {
  const std::string whole = read_file(path_);
  fuzz(
      3, [&](RandomStream& random) { spoil_through_hdf5(whole, random); },
      [&] { return judge(content_); });
}

/// What version 5 has beside: attributes of adapters and of what is frozen, and state of a part.
class AdapterFuzzTest : public Hdf5FuzzTest {
 protected:
  AdapterFuzzTest() {
    content_.write(path_);
    std::filesystem::copy_file(path_, elsewhere_);
  }

  const Content content_ = random_content(adapted_model(), 2, "base");
};

TEST_F(AdapterFuzzTest, SpoiledBytes) {
  const std::string whole = read_file(path_);
  fuzz(
      41, [&](RandomStream& random) { spoil_bytes(whole, random); },
      [&] { return judge(content_); });
}

TEST_F(AdapterFuzzTest, SpoiledMetadataWithRightChecksums) {
  const std::string whole = read_file(path_);
  const auto blocks = checked_blocks(whole);
  ASSERT_GT(blocks.size(), 40u);
  fuzz(
      42, [&](RandomStream& random) { spoil_metadata(whole, blocks, random); },
      [&] { return judge(content_); });
}

TEST_F(AdapterFuzzTest, ChangedThroughHdf5) {
  const std::string whole = read_file(path_);
  fuzz(
      43, [&](RandomStream& random) { spoil_through_hdf5(whole, random); },
      [&] { return judge(content_); });
}

}  // namespace
}  // namespace cllm::io
