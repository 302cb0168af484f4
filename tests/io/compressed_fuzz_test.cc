#include "compressed_fixture.h"
#include "hdf5_fuzz_fixture.h"

namespace cllm::io {
namespace {

class CompressedFuzzTest : public Hdf5FuzzTest {
 protected:
  CompressedFuzzTest() {
    compressed_.write(path_);
    std::filesystem::copy_file(path_, elsewhere_);
  }

  std::string judge_compressed() const { return judge(compressed_.content, true, false); }

  // The method with the most in its file.
  const CompressedContent compressed_{lattice::Method::kReducedBabai};
};

TEST_F(CompressedFuzzTest, SpoiledBytes) {
  const std::string whole = read_file(path_);
  fuzz(
      21, [&](RandomStream& random) { spoil_bytes(whole, random); },
      [&] { return judge_compressed(); });
}

TEST_F(CompressedFuzzTest, SpoiledMetadataWithRightChecksums) {
  const std::string whole = read_file(path_);
  const auto blocks = checked_blocks(whole);
  ASSERT_GT(blocks.size(), 40u);
  fuzz(
      22, [&](RandomStream& random) { spoil_metadata(whole, blocks, random); },
      [&] { return judge_compressed(); });
}

TEST_F(CompressedFuzzTest, ChangedThroughHdf5) {
  const std::string whole = read_file(path_);
  fuzz(
      23, [&](RandomStream& random) { spoil_through_hdf5(whole, random); },
      [&] { return judge_compressed(); });
}

// Under right digests nothing tells that these are other codes than were made, so all that is asked
// for is a proper end.
TEST_F(CompressedFuzzTest, SpoiledCodesAndCertificates) {
  const model::Layout& layout = compressed_.content.layout;
  const auto ends = [](const std::function<void()>& action) {
    try {
      action();
    } catch (const Error&) {  // a clause without a subject, which the reader completes
    } catch (const std::exception& other) {
      return fmt::format("another exception than Error: {}; ", other.what());
    }
    return std::string();
  };
  for (const lattice::Method method :
       {lattice::Method::kRounding, lattice::Method::kReducedBabai, lattice::Method::kE8}) {
    const CompressedContent sound(method);
    std::size_t tensor = 0;
    std::string codes, certificates;
    fuzz(
        24,
        [&](RandomStream& random) {
          do {
            tensor = random.below(layout.tensors().size());
          } while (!layout[tensor].is_matrix());
          codes = sound.matrices.codes[tensor];
          certificates = sound.matrices.certificates[tensor];
          mutate_bytes(codes, random);
          mutate_bytes(certificates, random);
        },
        [&] {
          const std::size_t rows = layout[tensor].rows, columns = layout[tensor].columns;
          return ends([&] {
                   std::vector<float> weights(rows * columns);
                   lattice::CodedMatrix::unpack(codes, rows, columns)
                       .decode(lattice::kind_of(method), weights);
                 }) +
                 ends([&] { lattice::check_certificates(certificates, columns); });
        });
  }
}

}  // namespace
}  // namespace cllm::io
