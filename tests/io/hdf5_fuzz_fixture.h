#pragma once

#include "checkpoint_fixture.h"
#include "cllm/base/file.h"
#include "fuzz_fixture.h"
#include "mutations.h"

namespace cllm::io {

/// What is open in this process. HDF5 counts its predefined types too.
inline std::vector<hsize_t> open_things() {
  std::vector<hsize_t> counts{open_descriptors()};
  for (const H5I_type_t kind :
       {H5I_FILE, H5I_GROUP, H5I_DATATYPE, H5I_DATASPACE, H5I_DATASET, H5I_ATTR, H5I_GENPROP_LST}) {
    hsize_t count = 0;
    H5Inmembers(kind, &count);
    counts.push_back(count);
  }
  return counts;
}

/// Spoiled files of HDF5, read in all ways that there are.
class Hdf5FuzzTest : public FuzzTest {
 protected:
  /// `can_tell`: what is read must be what was written. A compressed model has no `moments`.
  std::string judge(const Content& expected, bool can_tell = true, bool moments = true) const {
    Hdf5Reader{elsewhere_};  // HDF5 sets itself up at its first call
    const std::vector<hsize_t> before = open_things();
    std::string complaint;
    Content found(expected.run.model, expected.run.freeze);
    const auto differs = [&](const char* what, bool equal) {
      if (can_tell && !equal) complaint += fmt::format("other {} than written; ", what);
    };
    bool readable = reads(path_, complaint, [&] {
      found.run = read_run_state(path_);
      differs("run state", found.run == expected.run);
    });
    readable &= reads(path_, complaint, [&] {
      read_parameters(path_, found.layout, found.parameters.span());
      differs("parameters", bits(found.parameters) == bits(expected.parameters));
    });
    if (moments) {
      readable &= reads(path_, complaint, [&] {
        found.read_state(path_);
        differs("moments", bits(found.m) == bits(expected.m) && bits(found.v) == bits(expected.v));
      });
    }
    bool whole = false;
    reads(path_, complaint, [&] {
      const CheckpointSummary summary = describe_checkpoint(path_);
      whole = summary.is_whole();
      for (const std::string& problem : summary.problems()) {
        reads(path_, complaint, [&] { throw Error(problem); });
      }
    });
    if (can_tell && whole != readable) {
      complaint += fmt::format("whole: {}, but readable: {}; ", whole, readable);
    }
    if (open_things() != before) complaint += "something is left open; ";
    return complaint;
  }

  /// Writes `whole` with some changes that HDF5 itself makes, and damage on top now and then.
  void spoil_through_hdf5(const std::string& whole, RandomStream& random) const {
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
      for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) mutator.mutate();
    }
    if (random.below(4) == 0) spoil_bytes(read_file(path_), random);
  }

  /// Writes `bytes` with some of them spoiled.
  void spoil_bytes(std::string bytes, RandomStream& random) const {
    mutate_bytes(bytes, random);
    write(bytes);
  }

  /// The same, of one of the `blocks` that HDF5 has checksums of, with the right checksum behind
  /// it.
  void spoil_metadata(std::string bytes,
                      const std::vector<std::pair<std::size_t, std::size_t>>& blocks,
                      RandomStream& random) const {
    mutate_metadata(bytes, blocks, random);
    write(bytes);
  }

  /// A sound file of the same kind, for links that lead out of the spoiled one.
  const std::filesystem::path elsewhere_ = directory_.path() / "elsewhere.h5";
};

}  // namespace cllm::io
