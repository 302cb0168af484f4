#include "cllm/io/checkpoint.h"

#include <fmt/format.h>

#include <cstdlib>
#include <limits>

#include "checkpoint_fixture.h"
#include "cllm/base/file.h"
#include "cllm/io/run_directory.h"
#include "cllm/model/families.h"
#include "support/by_place.h"

namespace cllm::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CheckpointTest : public testing::Test {
 protected:
  /// What a shell command prints, and its status.
  struct Outcome {
    std::string output;
    int status;
  };
  Outcome shell(const std::string& command) const {
    const std::filesystem::path out = directory_.path() / "output";
    const int status = std::system((command + " > '" + out.string() + "' 2>&1").c_str());
    return {read_file(out), status};
  }
  static bool is_installed(const std::string& command) {
    return std::system((command + " > /dev/null 2>&1").c_str()) == 0;
  }

  void write(const std::filesystem::path& path, std::string_view text) const {
    write_atomically(path, std::as_bytes(std::span(text)));
  }

  support::ScratchDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "step-00000003.h5";
};

// Shapes and bits at random; the suite counts seeds in CLLM_IO_SEEDS.
TEST_F(CheckpointTest, ReturnsTheSameBits) {
  const std::uint64_t seeds = support::count_from_environment("CLLM_IO_SEEDS", 10);
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    RandomStream random(seed, 1);
    model::ModelConfig config;
    config.layers = 1 + random.below(5);
    config.heads = 1 + random.below(3);
    config.channels = config.heads * (1 + random.below(9));
    config.context = 1 + random.below(20);
    config.vocabulary = 1 + random.below(50);
    config.embedding_rank = random.below(config.channels + 1);
    if (seed % 2 == 1 && config.vocabulary > 2) {
      config.embedding_rank = 0;
      const auto rank = [&] { return 1 + random.below(config.channels); };
      config.bands = {
          {{{1, rank()}, {1 + random.below(config.vocabulary - 2), rank()}, {0, rank()}}}, 3};
      config.parts.tied = random.below(2) == 0;
    }
    const Content written = random_content(config, seed);
    written.write(path_);
    ASSERT_TRUE(same_bits(read_all(path_, config), written)) << "seed " << seed;
  }
}

TEST_F(CheckpointTest, EmptyTextsAndBlobComeBackEmpty) {
  const Content written(kSmallModel);
  written.write(path_);
  EXPECT_TRUE(same_bits(read_all(path_, kSmallModel), written));
}

TEST_F(CheckpointTest, FloatsBetweenTensorsStayAsTheyAre) {
  random_content(kSmallModel, 1).write(path_);
  Content read(kSmallModel);
  read.parameters.fill(-7.0F);
  read_parameters(path_, read.layout, read.parameters.span());
  std::size_t between = 0, end = 0;
  for (const model::Tensor& tensor : support::by_place(read.layout)) {
    for (; end < tensor.offset; ++end, ++between) EXPECT_EQ(read.parameters[end], -7.0F);
    end += tensor.size();
  }
  EXPECT_GT(between, 0u);
}

TEST_F(CheckpointTest, EqualContentMakesEqualFiles) {
  const Content content = random_content(kSmallModel, 2);
  content.write(path_);
  const std::string first = read_file(path_);
  content.write(path_);
  EXPECT_TRUE(read_file(path_) == first);
  random_content(kSmallModel, 3).write(path_);
  EXPECT_FALSE(read_file(path_) == first);
}

TEST_F(CheckpointTest, TensorNamesAreOneLinkEach) {
  for (const model::Preset& preset : model::presets()) {
    model::ModelConfig config = preset.shape;
    config.vocabulary = 256;
    const model::Layout layout(config);
    for (const model::Tensor& tensor : layout.tensors()) {
      EXPECT_EQ(tensor.name.find('/'), std::string::npos) << tensor.name;
    }
  }
}

TEST_F(CheckpointTest, SummaryOfAWholeFile) {
  const Content content = random_content(kSmallModel, 4);
  content.write(path_);
  const CheckpointSummary summary = describe_checkpoint(path_);
  EXPECT_TRUE(summary.is_whole());
  EXPECT_EQ(summary.run, content.run);
  ASSERT_EQ(summary.tensors.size(), 3 * content.layout.tensors().size());
  EXPECT_EQ(summary.tensors.front().path, "/params/wte.weight");
  EXPECT_THAT(summary.tensors.front().shape, ElementsAre(7, 6));
  EXPECT_EQ(summary.tensors.front().type, "float32");
  EXPECT_EQ(summary.tensors.front().digest.size(), 32u);
  EXPECT_EQ(summary.tensors.front().problem, "");
  EXPECT_EQ(summary.tensors.back().path, "/adam/v/ln_f.bias");
  EXPECT_THAT(summary.tensors.back().shape, ElementsAre(6));
}

// Another optimizer may keep other things, and of some tensors alone.
TEST_F(CheckpointTest, StateOfSomeRolesIsWhole) {
  const Content content = random_content(kSmallModel, 13);
  const auto is_hidden = [](model::Role role) { return role == model::Role::kHidden; };
  const auto is_other = [](model::Role role) { return role != model::Role::kHidden; };
  const model::Places hidden(content.layout, is_hidden), other(content.layout, is_other);
  EXPECT_EQ(hidden.size() + other.size(), content.layout.flat_size());
  const StateGroup<const float> written[] = {
      {"/muon/momentum", hidden, content.m.span().first(hidden.size())},
      {"/muon/m", other, content.v.span().first(other.size())}};
  write_checkpoint(path_, content.run, content.layout, content.parameters.span(), written);
  const CheckpointSummary summary = describe_checkpoint(path_);
  EXPECT_THAT(summary.problems(), testing::IsEmpty());
  EXPECT_EQ(summary.tensors.size(), 2 * content.layout.tensors().size());

  std::vector<float> momentum(hidden.size()), m(other.size());
  const StateGroup<float> read[] = {{"/muon/momentum", hidden, momentum}, {"/muon/m", other, m}};
  read_state(path_, content.layout, read);
  for (std::size_t i = 0; i < content.layout.tensors().size(); ++i) {
    const auto& [places, values, source] =
        hidden[i] ? std::tie(hidden, momentum, content.m) : std::tie(other, m, content.v);
    for (std::size_t j = *places[i]; j < *places[i] + content.layout[i].size(); ++j) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(values[j]), std::bit_cast<std::uint32_t>(source[j]));
    }
  }
  const StateGroup<float> wrong[] = {{"/muon/momentum", other, m}};
  EXPECT_THAT(error_of(path_, [&] { read_state(path_, content.layout, wrong); }),
              HasSubstr("which its model does not have"));
  Content adam(kSmallModel);
  EXPECT_THAT(error_of(path_, [&] { adam.read_state(path_); }), HasSubstr("has no /adam"));
}

TEST_F(CheckpointTest, NonFiniteValuesAreNotWritten) {
  const Content good = random_content(kSmallModel, 5);
  good.write(path_);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    Content content = random_content(kSmallModel, 6);
    const model::Tensor& tensor = content.layout[content.layout.layer(1).c_fc_weight];
    content.v[tensor.offset + tensor.size() - 1] = bad;
    const std::string message = error_of(path_, [&] { content.write(path_); });
    EXPECT_THAT(message, HasSubstr("/adam/v/h.1.mlp.c_fc.weight"));
    EXPECT_THAT(message, HasSubstr("not finite"));
  }
  EXPECT_TRUE(same_bits(read_all(path_, kSmallModel), good)) << "the older file must stay";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(CheckpointTest, BuffersAndLayoutMustBelongTogether) {
  const Content content = random_content(kSmallModel, 7);
  const auto write_with = [&](const RunState& run, std::span<const float> m) {
    const StateGroup<const float> state[] = {{"/adam/m", content.places, m}};
    write_checkpoint(path_, run, content.layout, content.parameters.span(), state);
  };
  EXPECT_THROW(write_with(content.run, content.m.span().first(16)), Error);
  RunState other = content.run;
  other.model.heads = 1;
  EXPECT_THAT(error_of(path_, [&] { write_with(other, content.m.span()); }), HasSubstr("1 heads"));
  EXPECT_FALSE(std::filesystem::exists(path_));
  content.write(path_);
  std::vector<float> small(16);
  EXPECT_THROW(read_parameters(path_, content.layout, small), Error);
}

TEST_F(CheckpointTest, AnotherModelIsRefused) {
  random_content(kSmallModel, 8).write(path_);
  model::ModelConfig other = kSmallModel;
  other.heads = 3;  // the same shapes: only the file's word tells
  Content content(other);
  const std::string message =
      error_of(path_, [&] { read_parameters(path_, content.layout, content.parameters.span()); });
  EXPECT_THAT(message, HasSubstr("2 heads"));
  EXPECT_THAT(message, HasSubstr("3 heads"));
  error_of(path_, [&] { content.read_state(path_); });
}

TEST_F(CheckpointTest, H5pyReadsItInThreeLines) {
  if (!is_installed("/usr/bin/python3 -c 'import h5py'")) {
    GTEST_SKIP() << "no h5py (package python3-h5py) for /usr/bin/python3";
  }
  const Content content = random_content(kSmallModel, 9);
  content.write(path_);
  const std::filesystem::path script = directory_.path() / "read.py";
  write(
      script,
      "import h5py, sys\n"
      "checkpoint = h5py.File(sys.argv[1], 'r')\n"
      "weight = checkpoint['params/h.0.attn.c_attn.weight'][...]\n"
      "run = checkpoint['run']\n"
      "print(weight.shape, weight.dtype, run.attrs['step'], run.attrs['tokenizer_kind'].decode())\n"
      "print(run['config'][()].decode(), end='')\n"
      "open(sys.argv[2], 'wb').write(weight.tobytes() + run['tokenizer'][...].tobytes())\n");
  const std::filesystem::path raw = directory_.path() / "raw";
  const Outcome outcome = shell("env -i /usr/bin/python3 '" + script.string() + "' '" +
                                path_.string() + "' '" + raw.string() + "'");
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_EQ(outcome.output,
            fmt::format("(18, 6) float32 {} bpe\n{}", content.run.step, content.run.config));
  const model::Tensor& tensor = content.layout[content.layout.layer(0).c_attn_weight];
  const std::string expected(reinterpret_cast<const char*>(&content.parameters[tensor.offset]),
                             tensor.size() * sizeof(float));
  EXPECT_TRUE(read_file(raw) == expected + content.run.tokenizer_blob);
}

// The program in docs/checkpoint_format.md, so that the page is right.
TEST_F(CheckpointTest, DigestsCanBeRecomputed) {
  if (!is_installed("/usr/bin/python3 -c 'import h5py, xxhash'")) {
    GTEST_SKIP() << "no h5py or xxhash (python3-h5py, python3-xxhash) for /usr/bin/python3";
  }
  const std::string page = read_file(CLLM_TESTS_DIR "/../docs/checkpoint_format.md");
  const std::string fence = "```python\n";
  const std::size_t begin = page.rfind(fence) + fence.size();
  const std::filesystem::path script = directory_.path() / "verify.py";
  write(script, std::string_view(page).substr(begin, page.find("```", begin) - begin));
  for (const Content& content : {random_content(kSmallModel, 11), Content(kSmallModel),
                                 random_content(kFactorisedModel, 12)}) {
    content.write(path_);
    const Outcome outcome =
        shell("env -i /usr/bin/python3 '" + script.string() + "' '" + path_.string() + "'");
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.output, "whole\n");
  }
}

TEST_F(CheckpointTest, H5dumpReadsIt) {
  if (!is_installed("h5dump --version")) GTEST_SKIP() << "no h5dump (package hdf5-tools)";
  const Content content = random_content(kSmallModel, 10);
  content.write(path_);
  const Outcome header = shell("h5dump -p -H '" + path_.string() + "'");
  ASSERT_EQ(header.status, 0) << header.output;
  EXPECT_THAT(header.output, HasSubstr("DATASET \"h.1.attn.c_proj.weight\""));
  EXPECT_THAT(header.output, HasSubstr("H5T_IEEE_F32LE"));
  EXPECT_THAT(header.output, HasSubstr("CONTIGUOUS"));
  EXPECT_THAT(header.output, testing::Not(HasSubstr("CHUNKED")));
  const Outcome step = shell("h5dump -a /run/step '" + path_.string() + "'");
  EXPECT_THAT(step.output, HasSubstr(fmt::format("(0): {}", content.run.step)));
}

TEST_F(CheckpointTest, NamesSortByStep) {
  EXPECT_EQ(checkpoint_name(1000), "step-00001000.h5");
  EXPECT_EQ(checkpoint_name(123'456'789'012), "step-123456789012.h5");

  const std::filesystem::path& directory = directory_.path();
  EXPECT_EQ(find_newest_checkpoint(directory), std::nullopt);
  for (const char* name : {"step-100000000.h5", "step-99999999.h5", "step-00000007.h5", "step-7.h5",
                           "step-000000008.h5", ".step-200000000.h5.12.tmp", "step-20000000x.h5",
                           "step-.h5", "step-00000009.h5.bak", "step--0000009.h5", "config.toml"}) {
    write(directory / name, "");
  }
  EXPECT_THAT(list_checkpoints(directory),
              ElementsAre(directory / "step-00000007.h5", directory / "step-99999999.h5",
                          directory / "step-100000000.h5"));
  EXPECT_EQ(find_newest_checkpoint(directory), directory / "step-100000000.h5");
  set_newest_checkpoint(directory / "step-00000007.h5");
  EXPECT_EQ(read_file(directory / kLatestName), "step-00000007.h5\n");
  const std::filesystem::path absent = directory / "absent";
  EXPECT_THAT(error_of(absent, [&] { list_checkpoints(absent); }), HasSubstr("No such file"));
}

}  // namespace
}  // namespace cllm::io
