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

#include "cllm/base/random.h"
#include "support/compare.h"
#include "support/example.h"
#include "support/reference_gradients.h"
#include "support/reference_model.h"
#include "support/tolerance.h"
#include "support/variants.h"

namespace cllm {
namespace {

using support::Example;

struct Case {
  std::string name;
  model::ModelConfig config;
  std::size_t sequences;
  std::size_t positions;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << fmt::format("{}, batch {}x{}", model::shape_text(one.config), one.sequences,
                      one.positions);
}

Example example_of(const model::ModelConfig& config, std::size_t sequences, std::size_t positions,
                   std::uint64_t seed = 1) {
  return support::make_example(config, sequences, positions, seed);
}

/// All variants of a small model, and all families in shapes that are odd in some way.
std::vector<Case> cases() {
  std::vector<Case> cases;
  const model::ModelConfig small{
      .layers = 2, .heads = 2, .channels = 8, .context = 6, .vocabulary = 11, .mlp_width = 9};
  for (const support::Variant& variant : support::all_variants(small)) {
    cases.push_back({variant.name, variant.config, 2, 5});
  }
  const auto add = [&](const char* name, const model::ModelConfig& shape, std::size_t sequences,
                       std::size_t positions) {
    for (const support::Variant& variant : support::all_families(shape)) {
      cases.push_back(
          {fmt::format("{}_{}", variant.name, name), variant.config, sequences, positions});
    }
  };
  add("one_position",
      {.layers = 1, .heads = 1, .channels = 4, .context = 1, .vocabulary = 3, .mlp_width = 5}, 1,
      1);
  add("positions_alone",
      {.layers = 1, .heads = 1, .channels = 6, .context = 5, .vocabulary = 7, .mlp_width = 7}, 3,
      1);
  add("one_head", {.layers = 2, .heads = 1, .channels = 10, .context = 9, .vocabulary = 13}, 1, 7);
  add("many_heads",
      {.layers = 2, .heads = 4, .channels = 8, .context = 4, .vocabulary = 16, .kv_heads = 2}, 3,
      4);
  add("three_heads_of_six",
      {.layers = 3,
       .heads = 3,
       .channels = 5,
       .context = 5,
       .vocabulary = 2,
       .kv_heads = 1,
       .head_size = 6,
       .mlp_width = 4},
      2, 5);
  cases.push_back({"gpt2_odd_heads",
                   {.layers = 2, .heads = 1, .channels = 5, .context = 9, .vocabulary = 13},
                   1,
                   7});
  for (const std::size_t rank : {2U, 8U}) {
    cases.push_back({fmt::format("gpt2_codes_of_{}", rank),
                     {.layers = 2,
                      .heads = 2,
                      .channels = 8,
                      .context = 6,
                      .vocabulary = 11,
                      .embedding_rank = rank},
                     2,
                     6});
  }
  return cases;
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

class ReferenceGradients : public ::testing::TestWithParam<Case> {
 protected:
  Example example(std::uint64_t seed = 1) const {
    return example_of(GetParam().config, GetParam().sequences, GetParam().positions, seed);
  }
};

TEST_P(ReferenceGradients, AgreeWithTheComplexStepForEveryParameter) {
  const Example e = example();
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
    const Example e = example(seed);
    const auto agree = support::gradients_agree<float>(
        e.layout,
        support::reference_gradients<float>(e.layout, e.parameters, e.inputs, e.targets,
                                            e.sequences, e.positions),
        gradients_of(e), support::gradient_tolerance(e, support::kFloatRoundoff));
    EXPECT_TRUE(agree) << "seed " << seed;
    RecordProperty(fmt::format("worst_{}", seed), agree.message());
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ReferenceGradients, ::testing::ValuesIn(cases()),
                         support::NameOfParameter());

std::vector<support::Variant> variants() {
  return support::all_variants(
      {.layers = 2, .heads = 2, .channels = 8, .context = 6, .vocabulary = 10, .mlp_width = 9});
}

support::Matrix<double> logits_of(const Example& e) {
  return support::reference_logits<double>(e.layout, e.exact_parameters(), e.inputs,
                                           {e.sequences, e.positions});
}

TEST(ReferenceModel, StartsAtTheLogOfTheVocabulary) {
  for (const support::Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    // Equal logits, whatever the rest is: a zero table gives logits of zero.
    Example e = example_of(variant.config, 2, 4);
    for (const model::TableBand& band : e.layout.lm_head()) {
      const model::Tensor& table = e.layout[band.tensor];
      std::fill_n(e.parameters.begin() + static_cast<std::ptrdiff_t>(table.offset), table.size(),
                  0.0F);
    }
    EXPECT_NEAR(loss_of(e), std::log(10.0), 4 * std::numeric_limits<double>::epsilon());
  }
}

/// A later token changes no earlier logits, to the bit; and sequences don't see each other.
TEST(ReferenceModel, IsCausal) {
  for (const support::Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    const Example e = example_of(variant.config, 2, 6);
    const support::Matrix<double> before = logits_of(e);
    constexpr std::size_t kChanged = 3;  // in the first sequence
    Example other = e;
    other.inputs[kChanged] = (other.inputs[kChanged] + 1) % 10;
    const support::Matrix<double> after = logits_of(other);
    for (std::size_t n = 0; n < before.rows; ++n) {
      const bool sees = n >= kChanged && n < e.positions;
      for (std::size_t v = 0; v < before.columns; ++v) {
        EXPECT_EQ(before(n, v) != after(n, v), sees) << "position " << n << ", logit " << v;
      }
    }
  }
}

TEST(ReferenceModel, LogitsStayWithinTheSoftcap) {
  for (const support::Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    const double cap = variant.config.parts.softcap;
    Example e = example_of(variant.config, 1, 6);
    for (const model::TableBand& band : e.layout.lm_head()) {
      const model::Tensor& table = e.layout[band.tensor];
      for (std::size_t i = 0; i < table.size(); ++i) e.parameters[table.offset + i] *= 1000;
    }
    double largest = 0;
    for (const double logit : logits_of(e).values) largest = std::max(largest, std::abs(logit));
    if (cap > 0) {
      EXPECT_LE(largest, cap);
    } else {
      EXPECT_GT(largest, 15);
    }
  }
}

/// A model whose heads of queries share keys and values is one whose heads have the same ones.
TEST(ReferenceModel, SharedKeysAreEqualKeys) {
  for (const support::Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    model::ModelConfig config = variant.config;
    config.kv_heads = 1;
    const Example shared = example_of(config, 2, 6);
    config.kv_heads = 2;
    Example equal = example_of(config, 2, 6);
    equal.inputs = shared.inputs;
    const std::size_t d = shared.layout.config().head_size;
    for (std::size_t i = 0; i < shared.layout.tensors().size(); ++i) {
      const model::Tensor& from = shared.layout[i];
      const model::Tensor& to = equal.layout[i];
      // The rows of queries stay, those of keys and of values come twice.
      for (std::size_t row = 0; row < to.rows; ++row) {
        const std::size_t head = row / d;
        const std::size_t from_row =
            to.rows == from.rows || head < 2 ? row : (head < 4 ? 2 * d : 3 * d) + row % d;
        for (std::size_t column = 0; column < to.columns; ++column) {
          equal.parameters[to.offset + row * to.columns + column] =
              shared.parameters[from.offset + from_row * from.columns + column];
        }
      }
    }
    EXPECT_EQ(logits_of(shared).values, logits_of(equal).values);
  }
}

/// What rotary positions are for: a score depends on how far apart a query and a key are.
TEST(ReferenceFunctions, RotatedScoresDependOnTheDistance) {
  const support::Matrix<double> heads = [] {
    RandomStream random(1, 0);
    support::Matrix<double> matrix(2, 6);
    for (double& value : matrix.values) value = random.normal();
    return matrix;
  }();
  // The first head at positions from 0 on, and the second.
  const auto at_all = [&](std::size_t head) {
    return support::rotated(support::rows_of(heads, std::vector<std::size_t>(8, head)), 100, 1);
  };
  const support::Matrix<double> scores = product_transposed(at_all(0), at_all(1));
  for (std::size_t t = 1; t < 8; ++t) {
    for (std::size_t u = 1; u < 8; ++u) {
      EXPECT_NEAR(scores(t, u), scores(t - 1, u - 1), 1e-14);
    }
  }
  EXPECT_GT(std::abs(scores(0, 0) - scores(0, 1)), 0.01);
}

TEST(ReferenceFunctions, SurviveLogitsBeyondTheRangeOfExp) {
  support::Matrix<double> logits(1, 3);
  logits.values = {2000, 1000, -2000};
  const std::vector<std::uint32_t> target = {1};
  EXPECT_EQ(support::cross_entropy<double>(logits, target)(0, 0), 1000);
}

TEST(ReferenceFunctions, RefuseWhatDoesNotFit) {
  const Example e =
      example_of({.layers = 1, .heads = 1, .channels = 4, .context = 4, .vocabulary = 5}, 1, 4);
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
            {.layers = 2, .heads = 2, .channels = 8, .context = 6, .vocabulary = 11}, 2, 6)),
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
  const model::Tensor& table = layout()[layout().embedding().front().tensor];
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
