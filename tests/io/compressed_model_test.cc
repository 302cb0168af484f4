#include <hdf5.h>

#include <algorithm>
#include <fstream>

#include "cllm/base/file.h"
#include "cllm/io/hdf5.h"
#include "compressed_fixture.h"

namespace cllm::io {
namespace {

using testing::HasSubstr;

class CompressedModelTest : public testing::Test {
 protected:
  void write(lattice::Method method) {
    CompressedContent compressed(method);
    compressed.write(path_);
    content_ = std::move(compressed.content);
  }

  support::ScratchDirectory scratch_;
  std::filesystem::path path_ = scratch_.path() / "model.h5";
  Content content_{kCompressedModel};
};

TEST_F(CompressedModelTest, ComesBackByWhatReadsCheckpoints) {
  using enum lattice::Method;
  for (const lattice::Method method : {kRounding, kBabai, kReducedBabai, kE8}) {
    write(method);
    EXPECT_EQ(read_run_state(path_), content_.run);
    AlignedBuffer<float> found(content_.layout.flat_size());
    // Between tensors, the fixture has zeros as well.
    read_parameters(path_, content_.layout, found.span());
    EXPECT_EQ(bits(found), bits(content_.parameters)) << lattice::name_of(method);
    const CheckpointSummary summary = describe_checkpoint(path_);
    EXPECT_THAT(summary.problems(), testing::IsEmpty());
    // 16 tensors of which 6 are matrices.
    EXPECT_EQ(summary.tensors.size(), method == kReducedBabai ? 22u : 16u);
  }
}

TEST_F(CompressedModelTest, EqualContentMakesEqualFiles) {
  write(lattice::Method::kE8);
  const std::string first = read_file(path_);
  write(lattice::Method::kE8);
  EXPECT_EQ(read_file(path_), first);
}

TEST_F(CompressedModelTest, HasNoStateOfTheOptimizerAndOneModel) {
  write(lattice::Method::kE8);
  Content other(kCompressedModel);
  EXPECT_THAT(error_of(path_, [&] { other.read_state(path_); }),
              HasSubstr("is a compressed model"));
  model::ModelConfig wider = kCompressedModel;
  wider.vocabulary = 18;
  Content another(wider);
  EXPECT_THAT(
      error_of(path_, [&] { read_parameters(path_, another.layout, another.parameters.span()); }),
      HasSubstr("vocabulary 17"));
}

/// Whatever bit of the file is wrong: nothing crashes, and no other weights are read.
TEST_F(CompressedModelTest, NoFlippedBitGoesUnnoticed) {
  for (const lattice::Method method : {lattice::Method::kE8, lattice::Method::kReducedBabai}) {
    write(method);
    const std::string whole = read_file(path_);
    std::size_t harmless = 0, rounds = 0;
    for (std::size_t at = 0; at < whole.size(); at += 61) {
      std::string spoiled = whole;
      spoiled[at] = static_cast<char>(spoiled[at] ^ (1 << at % 8));
      std::ofstream(path_, std::ios::binary) << spoiled;
      ++rounds;
      try {
        AlignedBuffer<float> found(content_.layout.flat_size());
        const RunState run = read_run_state(path_);
        read_parameters(path_, content_.layout, found.span());
        EXPECT_EQ(run, content_.run);
        EXPECT_EQ(bits(found), bits(content_.parameters)) << at;
        EXPECT_TRUE(describe_checkpoint(path_).is_whole());
        ++harmless;
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(path_.string()));
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    }
    EXPECT_LT(harmless, rounds / 2) << "gaps between HDF5's pieces are nobody's";
  }
}

TEST_F(CompressedModelTest, TruncatedFilesAreRefused) {
  write(lattice::Method::kE8);
  const std::string whole = read_file(path_);
  for (std::size_t size = 0; size < whole.size(); size += whole.size() / 23) {
    std::ofstream(path_, std::ios::binary) << whole.substr(0, size);
    error_of(path_, [&] { read_run_state(path_); });
  }
}

/// Each is whole, and in the other's place.
TEST_F(CompressedModelTest, ExchangedMatricesAreNoticed) {
  write(lattice::Method::kE8);
  {
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, access.get()), H5Fclose);
    const auto move = [&](const char* from, const char* to) {
      ASSERT_GE(H5Lmove(file.get(), from, file.get(), to, H5P_DEFAULT, H5P_DEFAULT), 0);
    };
    move("/params/h.0.ln_1.bias", "/params/other");
    move("/params/h.0.ln_2.bias", "/params/h.0.ln_1.bias");
    move("/params/other", "/params/h.0.ln_2.bias");
  }
  Content found(kCompressedModel);
  EXPECT_THAT(error_of(path_, [&] { read_run_state(path_); }), HasSubstr("exchanged or changed"));
  EXPECT_THAT(
      error_of(path_, [&] { read_parameters(path_, found.layout, found.parameters.span()); }),
      HasSubstr("exchanged or changed"));
  EXPECT_THAT(describe_checkpoint(path_).problem, HasSubstr("exchanged or changed"));
}

/// Codes under a right digest that are of no matrix: damage that only decoding finds.
TEST_F(CompressedModelTest, CodesThatAreNoneAreRefusedBeforeTheFileTakesItsName) {
  CompressedMatrices matrices{.method = lattice::Method::kE8,
                              .codes = std::vector<std::string>(content_.layout.tensors().size()),
                              .certificates = {}};
  for (std::string& code : matrices.codes) code = "no code";
  EXPECT_THAT(error_of(path_,
                       [&] {
                         write_compressed_model(path_, content_.run, content_.layout, matrices,
                                                content_.parameters.span());
                       }),
              HasSubstr("is damaged at /codes/wte.weight"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace cllm::io
