// Checkpoints of models whose token embedding has bands, as they shouldn't be.
#include <cstring>

#include "checkpoint_damage_fixture.h"

namespace cllm::io {
namespace {

using testing::HasSubstr;

using CheckpointBandsTest = CheckpointDamageTest;

TEST_F(CheckpointBandsTest, RowsOfTokensThatAreNoPermutation) {
  Content content = random_content(kBandedModel, 1);
  content.write(path_);
  EXPECT_TRUE(same_bits(read_all(path_, kBandedModel), content));
  std::string bytes = read_file(path_);
  bytes[offset_of("/run/token_rows")] ^= 1;
  overwrite(bytes);
  EXPECT_THAT(run_error(), HasSubstr("digest"));

  // What was to be written is read again before it takes its name.
  std::vector<std::uint32_t>& rows = content.run.token_rows;
  const std::vector<std::uint32_t> whole = rows;
  const auto refused = [&] { return error_of(path_, [&] { content.write(path_); }); };
  rows[3] = rows[2];
  EXPECT_THAT(refused(), HasSubstr("gives token 3 row"));
  EXPECT_THAT(refused(), HasSubstr("which is another token's"));
  rows = whole;
  rows[6] = 7;
  EXPECT_THAT(refused(), HasSubstr("gives token 6 row 7, which is none of the embedding"));
  rows = whole;
  rows.pop_back();
  EXPECT_THAT(refused(), HasSubstr("its run has rows for 6 tokens, its embedding of 7"));
}

TEST_F(CheckpointBandsTest, BandsThatMakeNoSense) {
  random_content(kBandedModel, 1).write(path_);
  const auto with_text = [&](const char* text) {
    edit([&](hid_t file) {
      ASSERT_GE(H5Adelete_by_name(file, "/run", "embedding_bands", H5P_DEFAULT), 0);
      const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
      ASSERT_GE(H5Tset_size(type.get(), std::strlen(text)), 0);
      ASSERT_GE(H5Tset_cset(type.get(), H5T_CSET_UTF8), 0);
      ASSERT_GE(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), 0);
      const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
      const Handle attribute(H5Acreate_by_name(file, "/run", "embedding_bands", type.get(),
                                               space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
      ASSERT_GE(H5Awrite(attribute.get(), type.get(), text), 0);
    });
    return run_error();
  };
  EXPECT_THAT(with_text("2:6,5"), HasSubstr("has embedding bands \"2:6,5\", which makes no sense"));
  EXPECT_THAT(with_text("2:6,6:3"), HasSubstr("but there is no such model"));
  EXPECT_THAT(with_text("18446744073709551615:3,8:3"), HasSubstr("but there is no such model"));
  EXPECT_THAT(with_text("2:6,5:2"), HasSubstr("/lattice/1 has 3 vectors, and its model 2"));
  EXPECT_THAT(with_text("7:3"), HasSubstr("holds /lattice/1, and its model has no such band"));
}

}  // namespace
}  // namespace cllm::io
