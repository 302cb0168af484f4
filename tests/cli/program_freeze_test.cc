// Tensors that training leaves as they are, as a user sees it.
#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class FreezeTest : public ProgramTest {
 protected:
  static Arguments frozen(const char* words) {
    return {"--freeze", words, "--batch", "6", "--micro-batch", "2"};
  }
  /// The lines of `digests` of a group, such as "/params/".
  std::vector<std::string> of(const std::string& run, const std::string& group) const {
    std::vector<std::string> some = digests(run);
    std::erase_if(some, [&](const std::string& line) { return !line.starts_with(group); });
    return some;
  }
};

TEST_F(FreezeTest, IsToldAndKeepsTensors) {
  succeed(tiny("base", 3));
  const std::string out =
      succeed(tiny("tuned", 4, Arguments{"--init-from", "base"} + frozen("embeddings,layers:0")))
          .out;
  EXPECT_THAT(out, AllOf(HasSubstr("frozen  embeddings,layers:0; trains "), HasSubstr(" of ")));
  const auto before = of("base", "/params/"), after = of("tuned", "/params/");
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    const bool is_frozen =
        before[i].starts_with("/params/w") || before[i].starts_with("/params/h.0.");
    EXPECT_EQ(before[i] == after[i], is_frozen) << before[i];
  }
  for (const std::string& line : digests("tuned")) {
    EXPECT_THAT(line, Not(testing::MatchesRegex("/(adam|muon)/./(h.0|wte).*")));
  }
  EXPECT_THAT(succeed({"inspect", "tuned"}).out, HasSubstr("freeze = \"embeddings,layers:0\""));
}

TEST_F(FreezeTest, TheSameBitsOnAnySplitAndAfterAStop) {
  const Arguments options =
      frozen("embeddings,norms") + Arguments{"--check-replicas", "3", "--checkpoint-every", "10"};
  succeed(tiny("alone", 20, options));
  succeed_on(2, tiny("two", 20, options));
  EXPECT_EQ(digests("two"), digests("alone"));
  EXPECT_EQ(program(tiny("threads", 20, options + Arguments{"--threads", "2"})).exit_code, 0);
  EXPECT_EQ(digests("threads"), digests("alone"));
  succeed_on(2, {"--resume", "two/step-00000010.h5", "--out", "again"});
  EXPECT_EQ(digests("again"), digests("alone"));
}

TEST_F(FreezeTest, AnotherChoiceGoesOnAndIsTold) {
  succeed(tiny("run", 4, frozen("layers:0")));
  const std::string out = succeed({"--resume", "run", "--steps", "6", "--freeze", "layers:1"}).out;
  EXPECT_THAT(out, AllOf(HasSubstr("changed --freeze is layers:1; it was layers:0"),
                         HasSubstr("were frozen until now")));
  const std::string all = succeed({"--resume", "run", "--steps", "8", "--freeze", "none"}).out;
  EXPECT_THAT(all, AllOf(HasSubstr("changed --freeze is none; it was layers:1"),
                         HasSubstr("were frozen until now"), Not(HasSubstr("\nfrozen "))));
  EXPECT_THAT(succeed({"--resume", "run", "--steps", "10"}).out, Not(HasSubstr("until now")));
}

TEST_F(FreezeTest, NonsenseIsRefused) {
  const auto refused = [&](const char* words, const char* why) {
    expect_one_sentence(program(tiny("run", 2, {"--freeze", words})), why);
    EXPECT_THAT(files_in("run"), testing::IsEmpty());
  };
  refused("first", "--freeze first: \"first\" is none of its words");
  refused("layers:0-2", "--freeze layers:0-2: the model has layers 0 to 1");
  refused("biases", "--freeze biases: the model has no such tensors");
  refused("embeddings,layers:0-1,norms,head", "nothing would be left to train");
}

}  // namespace
}  // namespace cllm::cli
