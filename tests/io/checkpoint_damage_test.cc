#include "checkpoint_damage_fixture.h"

// HDF5 1.10 loses some memory of its own when a damaged file makes it give up. What this layer
// could lose are identifiers, which these tests count themselves.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace cllm::io {
namespace {

using testing::HasSubstr;

TEST_F(CheckpointDamageTest, ToolsOfThisTestLeaveAGoodFileGood) {
  edit([](hid_t) {});
  EXPECT_TRUE(same_bits(read_all(path_, kSmallModel), content_));
}

TEST_F(CheckpointDamageTest, MissingFile) {
  std::filesystem::remove(path_);
  EXPECT_THAT(run_error(), HasSubstr("No such file or directory"));
  EXPECT_THAT(parameters_error(), HasSubstr("No such file or directory"));
}

TEST_F(CheckpointDamageTest, NotHdf5) {
  overwrite("seed = 1\n");
  EXPECT_THAT(run_error(), HasSubstr("not an HDF5 file"));
  overwrite("");
  EXPECT_THAT(run_error(), HasSubstr("not an HDF5 file"));
}

TEST_F(CheckpointDamageTest, Hdf5OfSomethingElse) {
  std::filesystem::remove(path_);
  Hdf5Writer(path_, path_).close();
  EXPECT_THAT(run_error(), HasSubstr("has no /run"));
}

TEST_F(CheckpointDamageTest, TruncatedAnywhere) {
  const std::string whole = read_file(path_);
  RandomStream random(3, 0);
  std::vector<std::size_t> sizes{1, 8, 9, 47, 48, 49, whole.size() - 1};
  for (int i = 0; i < 30; ++i) sizes.push_back(random.below(whole.size()));
  for (const std::size_t size : sizes) {
    overwrite(whole.substr(0, size));
    const std::string message = run_error();
    EXPECT_TRUE(message.find("truncated or damaged") != std::string::npos ||
                message.find("not an HDF5 file") != std::string::npos)
        << size << " bytes: " << message;
  }
  overwrite(whole.substr(0, whole.size() / 2));
  EXPECT_THAT(run_error(), HasSubstr("truncated"));
}

TEST_F(CheckpointDamageTest, AnotherFormatVersion) {
  set_run_attribute("format_version", kFormatVersion + 1);
  const std::string message = run_error();
  EXPECT_THAT(message, HasSubstr("format 6"));
  EXPECT_THAT(message, HasSubstr("up to format 6; use a newer cllm-dist"));
  set_run_attribute("format_version", 0);
  EXPECT_THAT(run_error(), HasSubstr("format 0, which there never was"));
}

TEST_F(CheckpointDamageTest, AModelThatCannotBe) {
  set_run_attribute("heads", 0);
  EXPECT_THAT(run_error(), HasSubstr("no such model"));
  set_run_attribute("heads", 2);
  const std::vector<std::pair<const char*, std::uint64_t>> largest = {
      {"layers", 10'000},
      {"channels", 1'000'000},
      {"context", 2'000'000'000},
      {"vocabulary", 2'000'000'000}};
  for (const auto& [name, size] : largest) {
    SetUp();
    set_run_attribute(name, size);
    EXPECT_THAT(run_error(), HasSubstr("too small")) << name;
  }
}

TEST_F(CheckpointDamageTest, MissingDataset) {
  edit([](hid_t file) { ASSERT_GE(H5Ldelete(file, kTensor, H5P_DEFAULT), 0); });
  EXPECT_THAT(parameters_error(), HasSubstr(std::string("has no ") + kTensor));
}

TEST_F(CheckpointDamageTest, MissingGroup) {
  edit([](hid_t file) { ASSERT_GE(H5Ldelete(file, "/adam", H5P_DEFAULT), 0); });
  Content content(kSmallModel);
  EXPECT_THAT(error_of(path_, [&] { content.read_state(path_); }), HasSubstr("has no /adam"));
  edit([](hid_t file) { ASSERT_GE(H5Ldelete(file, "/params", H5P_DEFAULT), 0); });
  EXPECT_THAT(run_error(), HasSubstr("has no /params"));
}

TEST_F(CheckpointDamageTest, MissingOrWrongAttribute) {
  edit([](hid_t file) { ASSERT_GE(H5Adelete_by_name(file, "/run", "step", H5P_DEFAULT), 0); });
  EXPECT_THAT(run_error(), HasSubstr("no attribute step"));
  edit([](hid_t file) {
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle attribute(H5Acreate_by_name(file, "/run", "step", H5T_IEEE_F64LE, space.get(),
                                             H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Aclose);
    ASSERT_TRUE(attribute.is_valid());
  });
  EXPECT_THAT(run_error(), HasSubstr("not one uint64 but float64"));
}

TEST_F(CheckpointDamageTest, WrongShape) {
  replace_tensor(H5T_IEEE_F32LE, {6, 18});
  const std::string message = parameters_error();
  EXPECT_THAT(message, HasSubstr("(6, 18)"));
  EXPECT_THAT(message, HasSubstr("(18, 6)"));
  replace_tensor(H5T_IEEE_F32LE, {108});
  EXPECT_THAT(parameters_error(), HasSubstr("(108)"));
}

TEST_F(CheckpointDamageTest, WrongType) {
  replace_tensor(H5T_IEEE_F64LE, {18, 6});
  EXPECT_THAT(parameters_error(), HasSubstr("float64 in place of float32"));
  replace_tensor(H5T_IEEE_F32BE, {18, 6});
  EXPECT_THAT(parameters_error(), HasSubstr("float32 (big-endian) in place of float32"));
  replace_tensor(H5T_STD_I32LE, {18, 6});
  EXPECT_THAT(parameters_error(), HasSubstr("int32 in place of float32"));
}

TEST_F(CheckpointDamageTest, WrongTypeOfTexts) {
  edit([](hid_t file) {
    ASSERT_GE(H5Ldelete(file, "/run/config", H5P_DEFAULT), 0);
    ASSERT_GE(H5Lmove(file, "/run/tokenizer", file, "/run/config", H5P_DEFAULT, H5P_DEFAULT), 0);
  });
  EXPECT_THAT(run_error(), HasSubstr("/run/config is not one text"));
  SetUp();
  edit([](hid_t file) {
    ASSERT_GE(H5Ldelete(file, "/run/tokenizer", H5P_DEFAULT), 0);
    ASSERT_GE(H5Lmove(file, "/run/config", file, "/run/tokenizer", H5P_DEFAULT, H5P_DEFAULT), 0);
  });
  EXPECT_THAT(run_error(), HasSubstr("has no /run/config"));
  edit([](hid_t file) {
    ASSERT_GE(H5Lcreate_hard(file, "/run/state", file, "/run/config", H5P_DEFAULT, H5P_DEFAULT), 0);
  });
  EXPECT_THAT(run_error(), HasSubstr("/run/tokenizer is not a vector of uint8"));
}

TEST_F(CheckpointDamageTest, OneFlippedBitOfTheData) {
  for (const char* dataset : {"/params/h.0.attn.c_attn.weight", "/adam/m/wte.weight",
                              "/adam/v/ln_f.bias", "/run/config", "/run/tokenizer"}) {
    SetUp();
    std::string bytes = read_file(path_);
    bytes[offset_of(dataset)] ^= 1;
    overwrite(bytes);
    const std::string message = error_of(path_, [&] { read_all(path_, kSmallModel); });
    EXPECT_THAT(message, HasSubstr("digest"));
    EXPECT_THAT(message, HasSubstr(dataset));
  }
}

TEST_F(CheckpointDamageTest, ALatticeThatDoesNotHold) {
  Content content = random_content(kFactorisedModel, 1);
  content.write(path_);
  std::string bytes = read_file(path_);
  bytes[offset_of("/lattice/transform")] ^= 1;
  overwrite(bytes);
  EXPECT_THAT(run_error(), HasSubstr("digest"));

  // Those that are what was to be written are read again before they take their name.
  content.run.lattices.at(0).transform(0, 1) += 1;
  EXPECT_THAT(error_of(path_, [&] { content.write(path_); }), HasSubstr("its /lattice does not"));
  content.run.lattices[0] = random_lattice(2, 1);
  EXPECT_THAT(error_of(path_, [&] { content.write(path_); }),
              HasSubstr("its /lattice has 2 vectors, and its model 3"));
}

TEST_F(CheckpointDamageTest, MissingDigest) {
  edit([](hid_t file) {
    ASSERT_GE(H5Adelete_by_name(file, kTensor, kDigestAttribute, H5P_DEFAULT), 0);
  });
  EXPECT_THAT(parameters_error(), HasSubstr("no attribute xxh3_128"));
}

TEST_F(CheckpointDamageTest, NonFiniteWithARightDigest) {
  const std::uint32_t infinity = 0x7f800000;
  edit([&](hid_t file) {
    const Handle dataset(H5Dopen2(file, "/params/ln_f.bias", H5P_DEFAULT), H5Dclose);
    const std::vector<std::uint32_t> values(6, infinity);
    ASSERT_GE(H5Dwrite(dataset.get(), H5T_IEEE_F32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
              0);
    ASSERT_GE(H5Adelete(dataset.get(), kDigestAttribute), 0);
    set_digest(dataset.get(), digest_hex(std::as_bytes(std::span(values))));
  });
  const std::string message = parameters_error();
  EXPECT_THAT(message, HasSubstr("/params/ln_f.bias"));
  EXPECT_THAT(message, HasSubstr("not finite"));
}

// What every digest of a tensor agrees with, and the digest over them does not.
TEST_F(CheckpointDamageTest, WholeTensorsInEachOthersPlaceOrOfAnotherFile) {
  const auto expect_noticed = [&] {
    EXPECT_THAT(run_error(), HasSubstr("do not match the digest over them"));
    EXPECT_THAT(parameters_error(), HasSubstr("do not match the digest over them"));
    const CheckpointSummary summary = describe_checkpoint(path_);
    EXPECT_FALSE(summary.is_whole());
    EXPECT_THAT(summary.problem, HasSubstr("do not match the digest over them"));
    EXPECT_THAT(summary.problems(), testing::ElementsAre(summary.problem));
  };
  const auto swap = [&](const std::string& a, const std::string& b) {
    edit([&](hid_t file) {
      const auto move = [&](const std::string& from, const std::string& to) {
        ASSERT_GE(H5Lmove(file, from.c_str(), file, to.c_str(), H5P_DEFAULT, H5P_DEFAULT), 0);
      };
      move(a, "/aside");
      move(b, a);
      move("/aside", b);
    });
  };
  swap("/params/h.0.ln_1.weight", "/params/h.1.ln_1.weight");
  expect_noticed();
  SetUp();
  swap("/adam/m/ln_f.bias", "/adam/v/ln_f.bias");
  expect_noticed();
  SetUp();
  swap("/run/config", "/run/state");
  EXPECT_THAT(run_error(), HasSubstr("do not match the digest over them"));
  SetUp();
  replace_tensor(H5T_IEEE_F32LE, {18, 6});
  expect_noticed();
}

TEST_F(CheckpointDamageTest, ChangedAttributes) {
  for (const char* name : {"step", "tokens_seen", "seed"}) {
    SetUp();
    set_run_attribute(name, 12);
    EXPECT_THAT(run_error(), HasSubstr("do not match the digest over them")) << name;
  }
  SetUp();
  set_run_attribute("format_version", 1);  // does not do without the digest that is there
  EXPECT_THAT(run_error(), HasSubstr("do not match the digest over them"));
  SetUp();
  edit([](hid_t file) {
    ASSERT_GE(H5Arename_by_name(file, "/run", "program_version", "program_versions", H5P_DEFAULT),
              0);
  });
  EXPECT_THAT(run_error(), HasSubstr("no attribute program_version"));
  SetUp();
  edit([](hid_t file) {
    const Handle run(H5Gopen2(file, "/run", H5P_DEFAULT), H5Gclose);
    set_text(run.get(), "note", "extra");
  });
  EXPECT_THAT(run_error(), HasSubstr("do not match the digest over them"));
}

TEST_F(CheckpointDamageTest, MissingDigestOverAll) {
  edit([](hid_t file) {
    ASSERT_GE(H5Adelete_by_name(file, "/", kDigestAttribute, H5P_DEFAULT), 0);
  });
  EXPECT_THAT(run_error(), HasSubstr("no attribute xxh3_128 at /"));
}

TEST_F(CheckpointDamageTest, UnexpectedTensor) {
  edit([](hid_t file) {
    ASSERT_GE(H5Lcreate_hard(file, kTensor, file, "/params/extra", H5P_DEFAULT, H5P_DEFAULT), 0);
  });
  EXPECT_THAT(parameters_error(), HasSubstr("/params/extra"));
}

TEST_F(CheckpointDamageTest, LinksAreNotFollowed) {
  const std::filesystem::path other = directory_.path() / "other.h5";
  std::filesystem::copy_file(path_, other);
  const auto expect_refused = [&](const std::string& name) {
    const std::string message = parameters_error();
    EXPECT_THAT(message, HasSubstr("link"));
    EXPECT_THAT(message, HasSubstr(name));
  };
  edit([](hid_t file) {
    ASSERT_GE(H5Lmove(file, kTensor, file, "/elsewhere", H5P_DEFAULT, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_soft("/elsewhere", file, kTensor, H5P_DEFAULT, H5P_DEFAULT), 0);
  });
  expect_refused(kTensor);
  edit([&](hid_t file) {
    ASSERT_GE(H5Ldelete(file, kTensor, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_external(other.c_str(), kTensor, file, kTensor, H5P_DEFAULT, H5P_DEFAULT),
              0);
  });
  expect_refused(kTensor);
  edit([&](hid_t file) {  // a whole group
    ASSERT_GE(H5Ldelete(file, "/params", H5P_DEFAULT), 0);
    ASSERT_GE(
        H5Lcreate_external(other.c_str(), "/params", file, "/params", H5P_DEFAULT, H5P_DEFAULT), 0);
  });
  expect_refused("/params");
}

TEST_F(CheckpointDamageTest, OtherStorageIsRefused) {
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const std::filesystem::path raw = directory_.path() / "raw";
  ASSERT_GE(H5Pset_external(creation.get(), raw.c_str(), 0, 18 * 6 * 4), 0);
  replace_tensor(H5T_IEEE_F32LE, {18, 6}, creation.get());
  EXPECT_THAT(parameters_error(), HasSubstr("metadata that cllm-dist does not write"));

  const Handle chunked(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const hsize_t chunk[] = {6, 6};
  ASSERT_GE(H5Pset_chunk(chunked.get(), 2, chunk), 0);
  replace_tensor(H5T_IEEE_F32LE, {18, 6}, chunked.get());
  EXPECT_THAT(parameters_error(), HasSubstr("contiguously"));
}

TEST_F(CheckpointDamageTest, GroupInPlaceOfADataset) {
  edit([](hid_t file) {
    ASSERT_GE(H5Ldelete(file, kTensor, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_hard(file, "/adam", file, kTensor, H5P_DEFAULT, H5P_DEFAULT), 0);
  });
  EXPECT_THAT(parameters_error(), HasSubstr("other than a dataset"));
}

TEST_F(CheckpointDamageTest, SummaryNamesEachProblemAndGoesOn) {
  std::string bytes = read_file(path_);
  bytes[offset_of("/adam/m/ln_f.bias") + 3] ^= 0x10;
  overwrite(bytes);
  replace_tensor(H5T_IEEE_F64LE, {3});
  edit([](hid_t file) {
    ASSERT_GE(H5Ldelete(file, "/adam/v/wpe.weight", H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_hard(file, "/run/config", file, "/params/extra", H5P_DEFAULT, H5P_DEFAULT),
              0);
  });
  const CheckpointSummary summary = describe_checkpoint(path_);
  EXPECT_FALSE(summary.is_whole());
  EXPECT_EQ(summary.tensors.size(), 3 * content_.layout.tensors().size() + 1);
  std::vector<std::string> broken;
  for (const TensorSummary& tensor : summary.tensors) {
    if (!tensor.problem.empty()) broken.push_back(tensor.path);
    if (tensor.path == kTensor) {
      EXPECT_EQ(tensor.type, "float64");
      EXPECT_THAT(tensor.shape, testing::ElementsAre(3));
    }
  }
  EXPECT_THAT(broken, testing::ElementsAre(kTensor, "/adam/m/ln_f.bias", "/adam/v/wpe.weight",
                                           "/params/extra"));
}

// Metadata have HDF5's checksums, data ours: no flip may crash, hang, or change what is read. The
// suite counts flips in CLLM_IO_FLIPS.
TEST_F(CheckpointDamageTest, NoFlippedBitGoesUnnoticed) {
  const std::string whole = read_file(path_);
  const std::uint64_t flips = support::count_from_environment("CLLM_IO_FLIPS", 300);
  RandomStream random(4, 0);
  std::uint64_t noticed = 0;
  for (std::uint64_t flip = 0; flip < flips; ++flip) {
    const std::size_t at = random.below(whole.size());
    const std::uint64_t bit = random.below(8);
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
    overwrite(bytes);
    try {
      ASSERT_TRUE(same_bits(read_all(path_, kSmallModel), content_))
          << "bit " << bit << " of " << at;
    } catch (const Error&) {
      ++noticed;
    }
  }
  // What isn't noticed lies in unused space, of which HDF5 leaves a little.
  EXPECT_GT(noticed, flips / 2);
}

}  // namespace
}  // namespace cllm::io
