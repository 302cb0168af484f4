#include "cllm/train/goal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cllm/model/layout.h"
#include "cllm/train/saved_state.h"

namespace cllm::train {
namespace {

StateValues state_of(std::uint64_t step, double best, std::uint64_t since_best = 0) {
  StateValues state;
  state.step = step;
  state.best = Score{step - since_best, best};
  state.evaluations_since_best = since_best;
  return state;
}

TEST(Goal, ARunIsCompleteWithItsLastStep) {
  const Goal goal{.steps = 10};
  EXPECT_FALSE(goal.may_end_early());
  EXPECT_EQ(reason_complete(goal, state_of(9, 0.0, 9)), "");
  EXPECT_EQ(reason_complete(goal, state_of(10, 5)), "all 10 steps are taken");
  EXPECT_EQ(reason_complete(goal, state_of(12, 5)), "all 12 steps are taken");
}

TEST(Goal, OrWithALossThatIsGoodEnough) {
  const Goal goal{.steps = 10, .target_loss = 2.5};
  EXPECT_TRUE(goal.may_end_early());
  EXPECT_EQ(reason_complete(goal, state_of(4, 2.6)), "");
  EXPECT_EQ(reason_complete(goal, state_of(4, 2.5)),
            "the validation loss reached --target-loss 2.5 with 2.5000 at step 4");
  StateValues not_evaluated;
  EXPECT_EQ(reason_complete(goal, not_evaluated), "");
}

TEST(Goal, OrWhenNothingGetsBetter) {
  const Goal goal{.steps = 10, .patience = 2};
  EXPECT_TRUE(goal.may_end_early());
  EXPECT_EQ(reason_complete(goal, state_of(4, 3.0, 1)), "");
  EXPECT_EQ(reason_complete(goal, state_of(4, 3.0, 2)),
            "2 evaluations in a row were no better (--patience 2)");
  EXPECT_EQ(reason_complete({.steps = 10, .patience = 1}, state_of(4, 3.0, 1)),
            "1 evaluation in a row was no better (--patience 1)");
}

// It may yet change what the others say.
TEST(Goal, NotBeforeTheEvaluationThatIsMissing) {
  StateValues state = state_of(10, 2.0, 3);
  state.lacks_evaluation = true;
  EXPECT_EQ(reason_complete({.steps = 10, .target_loss = 2.5, .patience = 2}, state), "");
}

}  // namespace
}  // namespace cllm::train
