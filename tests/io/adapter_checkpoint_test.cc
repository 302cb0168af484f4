// Checkpoints of models of which only adapters, or some tensors, are trained.
#include <hdf5.h>

#include <cstring>

#include "checkpoint_fixture.h"
#include "cllm/io/hdf5.h"

namespace cllm::io {
namespace {

using testing::HasSubstr;

class AdapterCheckpointTest : public testing::Test {
 protected:
  AdapterCheckpointTest() { write(); }

  /// A checkpoint with random parameters, and state of what is trained.
  void write() {
    std::filesystem::remove(path_);
    RandomStream random(3, 0);
    run_.model = layout_.config();
    run_.state = "{}";
    run_.freeze = "base";
    for (float& value : parameters_.span()) value = random_finite(random);
    for (float& value : state_.span()) value = random_finite(random);
    const StateGroup<const float> groups[] = {{"/adam/m", places_, state_.span()}};
    write_checkpoint(path_, run_, layout_, parameters_.span(), groups);
  }

  /// Changes the file by HDF5's own means.
  template <typename Change>
  void edit(const Change& change) const {
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, access.get()), H5Fclose);
    ASSERT_TRUE(file.is_valid());
    change(file.get());
  }

  void set_text(const char* name, const std::string& text) const {
    edit([&](hid_t file) {
      const Handle run(H5Gopen2(file, "/run", H5P_DEFAULT), H5Gclose);
      ASSERT_GE(H5Adelete(run.get(), name), 0);
      const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
      H5Tset_size(type.get(), text.size());
      const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
      const Handle attribute(
          H5Acreate2(run.get(), name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
      ASSERT_GE(H5Awrite(attribute.get(), type.get(), text.data()), 0);
    });
  }

  void set_rank(std::uint64_t rank) const {
    edit([&](hid_t file) {
      const Handle run(H5Gopen2(file, "/run", H5P_DEFAULT), H5Gclose);
      const Handle attribute(H5Aopen(run.get(), "lora_rank", H5P_DEFAULT), H5Aclose);
      ASSERT_GE(H5Awrite(attribute.get(), H5T_NATIVE_UINT64, &rank), 0);
    });
  }

  std::string run_error() const {
    return error_of(path_, [&] { read_run_state(path_); });
  }

  support::ScratchDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "step-00000001.h5";
  RunState run_;
  const model::Layout layout_{adapted_model(), model::Freeze("base")};
  const model::Places places_{layout_, model::every_role};
  AlignedBuffer<float> parameters_{layout_.flat_size()}, state_{layout_.trained_size()};
};

TEST_F(AdapterCheckpointTest, ComesBackWithTheSameBits) {
  EXPECT_EQ(read_run_state(path_), run_);
  EXPECT_EQ(describe_checkpoint(path_).problems(), std::vector<std::string>{});
  AlignedBuffer<float> parameters(layout_.flat_size()), state(layout_.trained_size());
  read_parameters(path_, layout_, parameters.span());
  const StateGroup<float> groups[] = {{"/adam/m", places_, state.span()}};
  read_state(path_, layout_, groups);
  for (std::size_t i = 0; i < layout_.tensors().size(); ++i) {
    const model::Tensor& tensor = layout_[i];
    const auto same = [&](const AlignedBuffer<float>& a, const AlignedBuffer<float>& b,
                          std::size_t at) {
      return std::memcmp(a.data() + at, b.data() + at, tensor.size() * sizeof(float)) == 0;
    };
    EXPECT_TRUE(same(parameters, parameters_, tensor.offset)) << tensor.name;
    EXPECT_EQ(tensor.is_trained, tensor.is_adapter) << tensor.name;
    if (!places_[i]) continue;
    EXPECT_TRUE(same(state, state_, *places_[i])) << tensor.name;
  }
}

TEST_F(AdapterCheckpointTest, IsNoneOfTheModelWithoutThem) {
  const model::Layout bare(kSmallModel);
  AlignedBuffer<float> parameters(bare.flat_size());
  EXPECT_THAT(error_of(path_, [&] { read_parameters(path_, bare, parameters.span()); }),
              HasSubstr("adapters of rank 2 and alpha 0.3 of q_proj,up_proj"));
}

TEST_F(AdapterCheckpointTest, AStateThatIsMissingOrTooMuchIsTold) {
  edit([](hid_t file) {
    ASSERT_GE(H5Ldelete(file, "/adam/m/h.0.attn.q_proj.lora_A", H5P_DEFAULT), 0);
  });
  EXPECT_THAT(describe_checkpoint(path_).problems().front(), HasSubstr("h.0.attn.q_proj.lora_A"));
  write();
  edit([](hid_t file) {
    ASSERT_GE(
        H5Ocopy(file, "/params/wte.weight", file, "/adam/m/wte.weight", H5P_DEFAULT, H5P_DEFAULT),
        0);
  });
  EXPECT_THAT(describe_checkpoint(path_).problems().front(), HasSubstr("/adam/m/wte.weight"));
  AlignedBuffer<float> state(layout_.trained_size());
  const StateGroup<float> groups[] = {{"/adam/m", places_, state.span()}};
  EXPECT_THAT(error_of(path_, [&] { read_state(path_, layout_, groups); }),
              HasSubstr("/adam/m/wte.weight"));
}

TEST_F(AdapterCheckpointTest, AttributesThatMakeNoSenseAreRefused) {
  const auto refused = [&](const char* name, const std::string& text, const char* why) {
    write();
    set_text(name, text);
    EXPECT_THAT(run_error(), HasSubstr(why)) << name << " " << text;
  };
  refused("freeze", "layers:7", "which makes no sense");
  refused("freeze", "all of it", "which makes no sense");
  refused("freeze", "mlp", "do not match the digest");
  refused("lora_targets", "gate_proj", "no such model");
  refused("lora_targets", "everything", "lora_targets everything");
  refused("lora_targets", "k_proj", "do not match the digest");
  refused("lora_alpha", "-1", "no such model");
  refused("lora_alpha", "nan", "no such model");
  refused("lora_alpha", "x", "lora_alpha x");
  for (const std::uint64_t rank : {std::uint64_t{7}, std::uint64_t{1} << 31, ~std::uint64_t{0}}) {
    write();
    set_rank(rank);
    EXPECT_THAT(run_error(), HasSubstr("no such model")) << rank;
  }
}

}  // namespace
}  // namespace cllm::io
