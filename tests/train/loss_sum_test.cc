#include "cllm/train/loss_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "cllm/base/random.h"

namespace cllm::train {
namespace {

TEST(LossSum, DoesNotDependOnOrderOrGrouping) {
  RandomStream random(1, 0);
  std::vector<double> losses(1000);
  for (double& loss : losses) loss = 600 * random.uniform();
  LossSum forward, backward, left, right;
  double plain = 0;
  for (const double loss : losses) {
    forward.add(loss, 64);
    plain += loss;
  }
  std::reverse(losses.begin(), losses.end());
  for (std::size_t i = 0; i < losses.size(); ++i) {
    backward.add(losses[i], 64);
    (i % 3 == 0 ? left : right).add(losses[i], 64);
  }
  left.add(right);
  EXPECT_EQ(forward.mean(), backward.mean());
  EXPECT_EQ(forward.mean(), left.mean());
  EXPECT_EQ(forward.positions(), 64000u);
  // Each of the thousand terms is rounded by at most half of 2^-20.
  EXPECT_NEAR(forward.mean(), plain / 64000, 1000 * 0x1p-21 / 64000);
}

TEST(LossSum, RemembersWhatIsNotANumber) {
  LossSum sum;
  EXPECT_TRUE(std::isnan(sum.mean()));
  sum.add(1.0, 1);
  EXPECT_EQ(sum.mean(), 1.0);
  LossSum bad;
  bad.add(std::numeric_limits<double>::infinity(), 1);
  sum.add(bad);
  EXPECT_TRUE(std::isnan(sum.mean()));
}

}  // namespace
}  // namespace cllm::train
