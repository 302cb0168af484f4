#include "checkpoint_fixture.h"
#include "cllm/base/file.h"
#include "fuzz_fixture.h"
#include "mutations.h"

// No file here is larger than a tenth of the limit, beyond which HDF5's malloc returns null and our
// new ends the program. HDF5 1.10 loses memory where it gives up on a file.
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=4:allocator_may_return_null=1:detect_leaks=0";
}

namespace cllm::io {
namespace {

/// What is open in this process. HDF5 counts its predefined types too.
std::vector<hsize_t> open_things() {
  std::vector<hsize_t> counts{open_descriptors()};
  for (const H5I_type_t kind :
       {H5I_FILE, H5I_GROUP, H5I_DATATYPE, H5I_DATASPACE, H5I_DATASET, H5I_ATTR, H5I_GENPROP_LST}) {
    hsize_t count = 0;
    H5Inmembers(kind, &count);
    counts.push_back(count);
  }
  return counts;
}

const std::filesystem::path kVersion1 = CLLM_TESTS_DIR "/golden/checkpoint_v1.h5";

class CheckpointFuzzTest : public FuzzTest {
 protected:
  CheckpointFuzzTest() {
    content_.write(path_);
    std::filesystem::copy_file(path_, elsewhere_);
  }

  /// Reads the file in all ways. `can_tell`: what is read must be what was written.
  std::string judge(const Content& expected, bool can_tell = true) const {
    Hdf5Reader{elsewhere_};  // HDF5 sets itself up at its first call
    const std::vector<hsize_t> before = open_things();
    std::string complaint;
    Content found(expected.run.model);
    const auto differs = [&](const char* what, bool equal) {
      if (can_tell && !equal) complaint += fmt::format("other {} than written; ", what);
    };
    const bool run = reads(path_, complaint, [&] {
      found.run = read_run_state(path_);
      differs("run state", found.run == expected.run);
    });
    const bool parameters = reads(path_, complaint, [&] {
      read_parameters(path_, found.layout, found.parameters.span());
      differs("parameters", bits(found.parameters) == bits(expected.parameters));
    });
    const bool optimizer = reads(path_, complaint, [&] {
      read_optimizer(path_, found.layout, found.m.span(), found.v.span());
      differs("moments", bits(found.m) == bits(expected.m) && bits(found.v) == bits(expected.v));
    });
    bool whole = false;
    reads(path_, complaint, [&] {
      const CheckpointSummary summary = describe_checkpoint(path_);
      whole = summary.is_whole();
      for (const std::string& problem : summary.problems()) {
        reads(path_, complaint, [&] { throw Error(problem); });
      }
    });
    if (can_tell && whole != (run && parameters && optimizer)) {
      complaint +=
          fmt::format("whole: {}, but read: {} {} {}; ", whole, run, parameters, optimizer);
    }
    if (open_things() != before) complaint += "something is left open; ";
    return complaint;
  }

  const Content content_ = random_content(kReducedModel, 1);
  const std::filesystem::path elsewhere_ = directory_.path() / "elsewhere.h5";
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
      1,
      [&](RandomStream& random) {
        std::string bytes = whole;
        mutate_bytes(bytes, random);
        write(bytes);
      },
      [&] { return judge(content_); });
}

TEST_F(CheckpointFuzzTest, SpoiledBytesOfVersion1) {
  const std::string whole = read_file(kVersion1);
  const Content expected = read_all(kVersion1, read_run_state(kVersion1).model);
  fuzz(
      4,
      [&](RandomStream& random) {
        std::string bytes = whole;
        mutate_bytes(bytes, random);
        write(bytes);
      },
      [&] { return judge(expected); });
}

TEST_F(CheckpointFuzzTest, SpoiledMetadataWithRightChecksums) {
  const std::string whole = read_file(path_);
  const auto blocks = checked_blocks(whole);
  ASSERT_GT(blocks.size(), 100u);
  fuzz(
      2,
      [&](RandomStream& random) {
        std::string bytes = whole;
        mutate_metadata(bytes, blocks, random);
        write(bytes);
      },
      [&] { return judge(content_); });
}

// Version 1 has nothing to tell by that a name or an attribute was changed, so all that is asked
// for is a proper end.
TEST_F(CheckpointFuzzTest, SpoiledMetadataOfVersion1WithRightChecksums) {
  const std::string whole = read_file(kVersion1);
  const Content expected = read_all(kVersion1, read_run_state(kVersion1).model);
  const auto blocks = checked_blocks(whole);
  fuzz(
      8,
      [&](RandomStream& random) {
        std::string bytes = whole;
        mutate_metadata(bytes, blocks, random);
        write(bytes);
      },
      [&] { return judge(expected, false); });
}

TEST_F(CheckpointFuzzTest, ChangedThroughHdf5) {
  const std::string whole = read_file(path_);
  fuzz(
      3,
      [&](RandomStream& random) {
        write(whole);
        {
          H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
          const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
          // Else HDF5 writes new objects in its oldest way, which is refused at once.
          if (random.below(4) != 0) {
            H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
          }
          const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, access.get()), H5Fclose);
          Hdf5Mutator mutator(file.get(), elsewhere_, random);
          for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes)
            mutator.mutate();
        }
        if (random.below(4) == 0) {
          std::string bytes = read_file(path_);
          mutate_bytes(bytes, random);
          write(bytes);
        }
      },
      [&] { return judge(content_); });
}

}  // namespace
}  // namespace cllm::io
