#include "cllm/io/hdf5.h"

#include <hdf5.h>
#include <sys/stat.h>

#include <array>
#include <utility>

#include "checkpoint_fixture.h"
#include "cllm/base/file.h"

namespace cllm::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Hdf5Test : public testing::Test {
 protected:
  support::ScratchDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "file.h5";
};

TEST_F(Hdf5Test, HandleClosesOnceWhereverItMoved) {
  const hid_t id = H5Screate(H5S_SCALAR);
  {
    Handle first(id, H5Sclose);
    Handle second(std::move(first));
    EXPECT_FALSE(first.is_valid());
    EXPECT_TRUE(H5Iis_valid(id));
    Handle third;
    third = std::move(second);
    EXPECT_EQ(third.get(), id);
  }
  EXPECT_FALSE(H5Iis_valid(id));
  Handle closed(H5Screate(H5S_SCALAR), H5Sclose);
  EXPECT_TRUE(closed.close());
  EXPECT_FALSE(closed.is_valid());
}

TEST_F(Hdf5Test, ReturnsWhatWasWritten) {
  RandomStream random(1, 0);
  std::string all_bytes;
  for (int i = 0; i < 256; ++i) all_bytes += static_cast<char>(i);
  all_bytes += std::string(3, '\0');          // as padding would look
  const std::string long_text(100'000, 'x');  // too long for an object header
  const std::array<std::uint64_t, 2> shape{3, 4};
  std::vector<float> floats;
  for (int i = 0; i < 12; ++i) floats.push_back(random_finite(random));
  std::vector<std::int64_t> integers = {std::numeric_limits<std::int64_t>::min(), -1, 0,
                                        std::numeric_limits<std::int64_t>::max()};
  for (int i = 4; i < 12; ++i) integers.push_back(std::bit_cast<std::int64_t>(random.next_u64()));
  {
    Hdf5Writer file(path_, path_);
    file.create_group("/b");
    file.create_group("/a");
    file.write_attribute("/a", "largest", ~std::uint64_t{0});
    file.write_attribute("/a", "text", "Grüße");
    file.write_attribute("/a", "empty", "");
    file.write_floats("/b/with.dots", shape, floats);
    file.write_integers("/b/integers", shape, integers);
    file.write_text("/b/long", long_text);
    file.write_text("/b/empty", "");
    file.write_bytes("/b/bytes", all_bytes);
    file.write_bytes("/b/no bytes", "");
    file.close();
  }
  const Hdf5Reader file(path_);
  EXPECT_EQ(file.file_size(), std::filesystem::file_size(path_));
  EXPECT_THAT(file.names("/"), ElementsAre("a", "b"));
  EXPECT_THAT(file.names("/b"),
              ElementsAre("bytes", "empty", "integers", "long", "no bytes", "with.dots"));
  EXPECT_EQ(file.integer_attribute("/a", "largest"), ~std::uint64_t{0});
  EXPECT_EQ(file.text_attribute("/a", "text"), "Grüße");
  EXPECT_EQ(file.text_attribute("/a", "empty"), "");
  EXPECT_EQ(file.read_text("/b/long"), long_text);
  EXPECT_EQ(file.read_text("/b/empty"), "");
  EXPECT_EQ(file.read_bytes("/b/bytes"), all_bytes);
  EXPECT_EQ(file.read_bytes("/b/no bytes"), "");
  std::vector<float> read(12);
  file.read_floats("/b/with.dots", shape, read);
  EXPECT_EQ(read, floats);
  std::vector<std::int64_t> read_integers(12);
  file.read_integers("/b/integers", shape, read_integers);
  EXPECT_EQ(read_integers, integers);
  EXPECT_EQ(file.info("/b/integers").type, "int64");
  const DatasetInfo info = file.info("/b/with.dots");
  EXPECT_THAT(info.shape, ElementsAre(3, 4));
  EXPECT_EQ(info.type, "float32");
  EXPECT_EQ(info.digest.size(), 32u);
}

TEST_F(Hdf5Test, TextWithNulIsRefused) {
  Hdf5Writer file(path_, path_);
  const std::string text("a\0b", 3);
  EXPECT_THAT(error_of(path_, [&] { file.write_text("/t", text); }), HasSubstr("NUL"));
  EXPECT_THAT(error_of(path_, [&] { file.write_attribute("/", "t", text); }), HasSubstr("NUL"));
}

TEST_F(Hdf5Test, WritingErrorsNameTheShownPathAndTheSystemsReason) {
  const std::filesystem::path shown = "final.h5";
  const std::string message =
      error_of(shown, [&] { Hdf5Writer(directory_.path() / "absent" / "temporary", shown); });
  EXPECT_THAT(message, HasSubstr("No such file or directory"));
  Hdf5Writer file(path_, shown);
  file.create_group("/a");
  EXPECT_THAT(error_of(shown, [&] { file.create_group("/a"); }), HasSubstr("exists"));
}

TEST_F(Hdf5Test, WhatIsNoFileIsRefused) {
  EXPECT_THAT(error_of(path_, [&] { Hdf5Reader reader(path_); }),
              HasSubstr("No such file or directory"));
  EXPECT_THAT(error_of(directory_.path(), [&] { Hdf5Reader reader(directory_.path()); }),
              HasSubstr("not a regular file"));
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(error_of(path_, [&] { Hdf5Reader reader(path_); }), HasSubstr("not a regular file"));
}

TEST_F(Hdf5Test, PrintsNothingItself) {
  write_atomically(path_, std::vector<std::byte>(5000));
  testing::internal::CaptureStderr();
  EXPECT_THAT(error_of(path_, [&] { Hdf5Reader reader(path_); }), HasSubstr("not an HDF5 file"));
  error_of(path_, [&] {
    Hdf5Writer file(path_, path_);
    file.write_attribute("/absent", "a", "b");
  });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(Hdf5Test, ShapesAsMessagesWriteThem) {
  EXPECT_EQ(shape_text(std::array<std::uint64_t, 2>{96, 64}), "(96, 64)");
  EXPECT_EQ(shape_text({}), "()");
}

}  // namespace
}  // namespace cllm::io
