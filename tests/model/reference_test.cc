#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/compare.h"
#include "support/example.h"
#include "support/reference_gradients.h"
#include "support/reference_model.h"
#include "support/tolerance.h"

namespace cllm {
namespace {

using support::Example;

struct Shape {
  model::ModelConfig config;
  std::size_t sequences;
  std::size_t positions;
};

void PrintTo(const Shape& shape, std::ostream* out) {
  const model::ModelConfig& c = shape.config;
  *out << fmt::format("L{} H{} C{} context {} V{}, batch {}x{}", c.layers, c.heads, c.channels,
                      c.context, c.vocabulary, shape.sequences, shape.positions);
}

Example example_of(const Shape& shape, std::uint64_t seed = 1) {
  return support::make_example(shape.config, shape.sequences, shape.positions, seed);
}

double loss_of(const Example& e) {
  return support::reference_loss<double>(e.layout, e.exact_parameters(), e.inputs, e.targets,
                                         e.sequences, e.positions);
}

std::vector<double> gradients_of(const Example& e) {
  return support::reference_gradients<double>(e.layout, e.exact_parameters(), e.inputs, e.targets,
                                              e.sequences, e.positions);
}

std::vector<double> complex_step_gradients_of(const Example& e) {
  const std::vector<double> parameters = e.exact_parameters();
  std::vector<double> gradients(e.layout.flat_size());
  for (const model::Tensor& tensor : e.layout.tensors()) {
    for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
      gradients[i] = support::complex_step_gradient(e.layout, parameters, i, e.inputs, e.targets,
                                                    e.sequences, e.positions);
    }
  }
  return gradients;
}

/// How many seeds the suites go through.
std::uint64_t seeds() {
  const char* count = std::getenv("CLLM_TEST_SEEDS");
  return count == nullptr ? 5 : std::stoull(count);
}

class ReferenceGradients : public ::testing::TestWithParam<Shape> {};

TEST_P(ReferenceGradients, AgreeWithTheComplexStepForEveryParameter) {
  const Example e = example_of(GetParam());
  const double tolerance = support::gradient_tolerance(e, support::kDoubleRoundoff);
  EXPECT_LT(tolerance, 1e-11);
  const auto agree = support::gradients_agree<double>(e.layout, gradients_of(e),
                                                      complex_step_gradients_of(e), tolerance);
  EXPECT_TRUE(agree);
  RecordProperty("worst", agree.message());
}

/// The same arithmetic in float: what a tolerance for float means, and that it is not too tight.
TEST_P(ReferenceGradients, InFloatAgreeWithinTheToleranceForFloat) {
  for (std::uint64_t seed = 0; seed < seeds(); ++seed) {
    const Example e = example_of(GetParam(), seed);
    const auto agree = support::gradients_agree<float>(
        e.layout,
        support::reference_gradients<float>(e.layout, e.parameters, e.inputs, e.targets,
                                            e.sequences, e.positions),
        gradients_of(e), support::gradient_tolerance(e, support::kFloatRoundoff));
    EXPECT_TRUE(agree) << "seed " << seed;
    RecordProperty(fmt::format("worst_{}", seed), agree.message());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ReferenceGradients,
    ::testing::Values(
        Shape{{.layers = 1, .heads = 1, .channels = 4, .context = 1, .vocabulary = 3}, 1, 1},
        Shape{{.layers = 1, .heads = 1, .channels = 6, .context = 5, .vocabulary = 7}, 3, 1},
        Shape{{.layers = 1, .heads = 2, .channels = 8, .context = 6, .vocabulary = 11}, 2, 6},
        Shape{{.layers = 2, .heads = 1, .channels = 5, .context = 9, .vocabulary = 13}, 1, 7},
        Shape{{.layers = 2, .heads = 4, .channels = 8, .context = 4, .vocabulary = 16}, 3, 4},
        Shape{{.layers = 3, .heads = 3, .channels = 6, .context = 5, .vocabulary = 2}, 2, 5},
        Shape{{.layers = 1,
               .heads = 1,
               .channels = 6,
               .context = 5,
               .vocabulary = 7,
               .embedding_rank = 2},
              3,
              4},
        Shape{{.layers = 2,
               .heads = 2,
               .channels = 8,
               .context = 6,
               .vocabulary = 11,
               .embedding_rank = 8},
              2,
              6}));

TEST(ReferenceModel, StartsAtTheLogOfTheVocabulary) {
  // Equal logits, whatever the rest is: a zero table gives logits of zero.
  Example e =
      example_of({{.layers = 1, .heads = 2, .channels = 8, .context = 4, .vocabulary = 10}, 2, 4});
  const model::Tensor& table = e.layout[e.layout.embedding()];
  std::fill_n(e.parameters.begin() + static_cast<std::ptrdiff_t>(table.offset), table.size(), 0.0F);
  EXPECT_NEAR(loss_of(e), std::log(10.0), 4 * std::numeric_limits<double>::epsilon());
}

/// A later token changes no earlier logits, to the bit; and sequences don't see each other.
TEST(ReferenceModel, IsCausal) {
  const Example e =
      example_of({{.layers = 2, .heads = 2, .channels = 8, .context = 6, .vocabulary = 9}, 2, 6});
  const auto logits = [&](const std::vector<std::uint32_t>& inputs) {
    return support::reference_forward<double>(e.layout, e.exact_parameters(), inputs,
                                              {e.sequences, e.positions})
        .logits;
  };
  const auto before = logits(e.inputs);
  constexpr std::size_t kChanged = 3;  // in the first sequence
  std::vector<std::uint32_t> inputs = e.inputs;
  inputs[kChanged] = (inputs[kChanged] + 1) % 9;
  const auto after = logits(inputs);
  for (std::size_t n = 0; n < before.rows; ++n) {
    const bool sees = n >= kChanged && n < e.positions;
    for (std::size_t v = 0; v < before.columns; ++v) {
      EXPECT_EQ(before(n, v) != after(n, v), sees) << "position " << n << ", logit " << v;
    }
  }
}

TEST(ReferenceModel, SurvivesLogitsBeyondTheRangeOfExp) {
  support::Matrix<double> logits(1, 3);
  logits.values = {2000, 1000, -2000};
  EXPECT_EQ(support::cross_entropy<double>(logits, std::vector<std::uint32_t>{1}), 1000);
}

TEST(ReferenceModel, RefusesWhatDoesNotFit) {
  const Example e =
      example_of({{.layers = 1, .heads = 1, .channels = 4, .context = 4, .vocabulary = 5}, 1, 4});
  Example unknown = e;
  unknown.inputs[2] = 5;
  EXPECT_THROW(loss_of(unknown), std::invalid_argument);
  unknown = e;
  unknown.targets[2] = 5;
  EXPECT_THROW(loss_of(unknown), std::invalid_argument);
  EXPECT_THROW(gradients_of(unknown), std::invalid_argument);
  Example short_of = e;
  short_of.targets.pop_back();
  EXPECT_THROW(loss_of(short_of), std::invalid_argument);
  Example too_long = e;
  too_long.positions = 5;
  EXPECT_THROW(loss_of(too_long), std::invalid_argument);
}

/// The comparator is worth something only if it refuses gradients that are wrong.
class Comparator : public ::testing::Test {
 protected:
  Comparator()
      : example_(example_of(
            {{.layers = 2, .heads = 2, .channels = 8, .context = 6, .vocabulary = 11}, 2, 6})),
        right_(gradients_of(example_)),
        fast_(right_.begin(), right_.end()),
        tolerance_(support::gradient_tolerance(example_, support::kFloatRoundoff)) {}

  ::testing::AssertionResult compare() const {
    return support::gradients_agree<float>(layout(), fast_, right_, tolerance_);
  }
  const model::Layout& layout() const { return example_.layout; }

  Example example_;
  std::vector<double> right_;
  std::vector<float> fast_;
  double tolerance_;
};

TEST_F(Comparator, AcceptsTheReferenceRoundedToFloat) { EXPECT_TRUE(compare()); }

TEST_F(Comparator, RefusesOneWrongElementOfAnyTensorAndNamesIt) {
  for (const model::Tensor& tensor : layout().tensors()) {
    const std::size_t column = tensor.columns / 2;
    const std::size_t row = tensor.rows / 2;
    const std::span<const double> values = std::span(right_).subspan(tensor.offset, tensor.size());
    const std::vector<float> good = fast_;
    // 1 % of what elements of the tensor, or of the whole gradient, are like.
    const double rms =
        std::max(support::root_mean_square(values), 0.1 * support::root_mean_square(right_));
    fast_[tensor.offset + row * tensor.columns + column] += static_cast<float>(0.01 * rms);
    const auto agree = compare();
    EXPECT_FALSE(agree) << tensor.name;
    EXPECT_NE(std::string(agree.message()).find(tensor.name), std::string::npos) << agree.message();
    EXPECT_NE(std::string(agree.message()).find(fmt::format("({}, {})", row, column)),
              std::string::npos)
        << agree.message();
    fast_ = good;
  }
}

TEST_F(Comparator, RefusesATensorThatIsALittleTooLargeEverywhere) {
  for (const model::Tensor& tensor : layout().tensors()) {
    const std::vector<float> good = fast_;
    for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
      fast_[i] *= 1.001F;
    }
    EXPECT_FALSE(compare()) << tensor.name;
    fast_ = good;
  }
}

TEST_F(Comparator, RefusesWhatIsNotANumber) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const model::Tensor& tensor : layout().tensors()) {
      const std::vector<float> good = fast_;
      fast_[tensor.offset] = value;
      EXPECT_FALSE(compare()) << tensor.name << " " << value;
      fast_ = good;
    }
  }
}

TEST_F(Comparator, RefusesZerosAndWrongSizesAndFilledPadding) {
  const std::vector<float> good = fast_;
  fast_.assign(fast_.size(), 0);
  EXPECT_FALSE(compare());
  fast_ = good;
  fast_.pop_back();
  EXPECT_FALSE(compare());
  fast_ = good;
  ASSERT_GT(layout().flat_size(), layout().parameter_count());
  const model::Tensor& last = layout()[*layout().ln_f().shift];
  ASSERT_LT(last.offset + last.size(), fast_.size());
  fast_.back() = 1;
  EXPECT_FALSE(compare());
  fast_ = good;
  const model::Tensor& table = layout()[layout().embedding()];
  ASSERT_LT(table.offset + table.size(), layout()[*layout().wpe()].offset);
  fast_[table.offset + table.size()] = 1;
  EXPECT_FALSE(compare());
}

/// Mistakes that are easily made, put into the parameters instead of the code: the gradient at a
/// slightly other place is a slightly wrong gradient.
TEST_F(Comparator, RefusesTheGradientOfOtherParameters) {
  Example other = example_;
  other.parameters[layout()[*layout().ln_f().gain].offset] *= 1.01F;
  const std::vector<double> wrong = gradients_of(other);
  fast_.assign(wrong.begin(), wrong.end());
  EXPECT_FALSE(compare());
}

}  // namespace
}  // namespace cllm
