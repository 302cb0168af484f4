// Fine-tuning a trained model, as a user sees it: rates, and adapters from training to other
// programs.
#include <fmt/format.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class LoraTest : public ProgramTest {
 protected:
  /// Trains a small Llama of words, which the others begin with.
  void make_base() const {
    write("text.txt", sample_text(200));
    succeed(
        tiny("base", 10, {"--family", "llama", "--tokenizer", "bpe:300", "--data", "text.txt"}));
  }
  static Arguments tuned(const std::string& out, int steps, const Arguments& more = {}) {
    return tiny(out, steps, Arguments{"--init-from", "base", "--data", "text.txt"} + more);
  }
  static Arguments adapted(const std::string& out, int steps, const Arguments& more = {}) {
    return tuned(out, steps, Arguments{"--lora-rank", "4", "--lr", "0.01"} + more);
  }
  std::string loss_of(const std::string& model) const {
    return lines_of(succeed({"eval", "--checkpoint", model, "--data", "text.txt"}).out).at(2);
  }
  std::vector<std::string> weights_of(const std::string& run) const {
    std::vector<std::string> some = digests(run);
    std::erase_if(some, [](const std::string& line) {
      return !line.starts_with("/params/") || line.find("lora_") != line.npos;
    });
    return some;
  }
};

TEST_F(LoraTest, TrainsAdaptersAlone) {
  make_base();
  const std::string out = succeed(adapted("run", 20)).out;
  EXPECT_THAT(out, AllOf(HasSubstr("adapters of rank 4 and alpha 8 of q_proj,k_proj,v_proj,o_proj,"
                                   "gate_proj,up_proj,down_proj"),
                         HasSubstr("frozen  base; trains "), HasSubstr("tuning  adamw with")));
  EXPECT_EQ(weights_of("run"), weights_of("base"));
  for (const std::string& line : digests("run")) {
    EXPECT_THAT(line, testing::AnyOf(testing::StartsWith("/params/"), HasSubstr("lora_")));
  }
  EXPECT_NE(loss_of("run"), loss_of("base"));
  // The run doesn't need what it began with.
  std::filesystem::remove_all(path("base"));
  EXPECT_THAT(succeed({"--resume", "run", "--steps", "22"}).out, HasSubstr("resumed from"));
  EXPECT_THAT(succeed({"inspect", "run"}).out, HasSubstr("adapters of rank 4"));
  EXPECT_THAT(succeed({"verify", "run"}).out, HasSubstr("whole"));
}

TEST_F(LoraTest, TheSameBitsOnAnySplitAndAfterAStop) {
  make_base();
  const Arguments options = {
      "--batch", "6", "--micro-batch", "2", "--checkpoint-every", "10", "--check-replicas", "5"};
  succeed(adapted("alone", 20, options));
  succeed_on(2, adapted("two", 20, options));
  EXPECT_EQ(digests("two"), digests("alone"));
  EXPECT_EQ(program(adapted("threads", 20, options + Arguments{"--threads", "2"})).exit_code, 0);
  EXPECT_EQ(digests("threads"), digests("alone"));
  succeed_on(2, {"--resume", "two/step-00000010.h5", "--out", "again"});
  EXPECT_EQ(digests("again"), digests("alone"));
}

TEST_F(LoraTest, MergedTheModelSaysTheSame) {
  make_base();
  succeed(adapted("run", 20, {"--lora-targets", "q_proj,v_proj,mlp", "--lora-alpha", "3"}));
  const Arguments sample = {"--prompt", "The", "--tokens", "20", "--temperature", "0"};
  const std::string said = succeed(Arguments{"sample", "--checkpoint", "run"} + sample).out;
  for (const char* format : {"hf", "gguf"}) {
    const std::string to = fmt::format("merged-{}", format);
    succeed({"export", "--checkpoint", "run", "--merge", "--format", format, "--out", to});
    EXPECT_EQ(succeed(Arguments{"sample", "--checkpoint", to} + sample).out, said);
    EXPECT_EQ(loss_of(to).substr(0, 19), loss_of("run").substr(0, 19));
  }
  // A new run merges them, and may have others.
  succeed(tuned(
      "whole", 1,
      {"--init-from", "run", "--optimizer", "adamw", "--lr", "1e-30", "--weight-decay", "0"}));
  EXPECT_EQ(loss_of("whole"), loss_of("merged-hf"));
  succeed(
      tuned("others", 1,
            {"--init-from", "run", "--lora-rank", "2", "--lr", "1e-30", "--weight-decay", "0"}));
  EXPECT_EQ(weights_of("others"), weights_of("whole"));
}

TEST_F(LoraTest, AdaptersAreWrittenAlone) {
  make_base();
  succeed(adapted("run", 5, {"--lora-targets", "q_proj,v_proj"}));
  EXPECT_THAT(succeed({"export", "--checkpoint", "run", "--out", "adapter"}).out,
              HasSubstr("adapters alone"));
  EXPECT_EQ(files_in("adapter"),
            (std::vector<std::string>{"adapter_config.json", "adapter_model.safetensors"}));
  const auto config = nlohmann::json::parse(read("adapter/adapter_config.json"));
  EXPECT_EQ(config.at("peft_type"), "LORA");
  EXPECT_EQ(config.at("r"), 4);
  EXPECT_EQ(config.at("lora_alpha"), 8);
  EXPECT_EQ(config.at("target_modules"), (nlohmann::json{"q_proj", "v_proj"}));
  EXPECT_THAT(config.at("base_model_name_or_path").get<std::string>(), HasSubstr("/base/step-"));
}

TEST_F(LoraTest, RefusalsAreOneSentence) {
  make_base();
  const auto refused = [&](const Arguments& options, const std::string& why) {
    expect_one_sentence(program(options), why);
  };
  refused(tiny("new", 2, {"--lora-rank", "4"}), "--lora-rank 4: .*--init-from");
  refused(tuned("new", 2, {"--lora-rank", "4", "--freeze", "mlp"}), "--freeze mlp: .*leave it out");
  refused(tuned("new", 2, {"--lora-rank", "4", "--lora-targets", "wte"}),
          "--lora-targets wte: \"wte\" is none");
  refused(tuned("new", 2, {"--lora-alpha", "4"}), "--lora-alpha: .*--lora-rank");
  refused(tuned("new", 2, {"--lora-rank", "65"}), "--lora-rank 65: give a number from 1 to 64");
  refused({"export", "--checkpoint", "base", "--merge", "--out", "model"},
          "--merge: .*no adapters");
  succeed(adapted("run", 2));
  refused({"export", "--checkpoint", "run", "--format", "gguf", "--out", "model"}, "--merge");
  refused({"export", "--checkpoint", "run", "--type", "q8_0", "--out", "model"},
          "PEFT has no q8_0");
  refused({"compress", "--checkpoint", "run", "--calibrate", "text.txt", "--out", "small.h5"},
          "export --merge");
  refused({"--resume", "run", "--steps", "4", "--lora-rank", "8"}, "rank 4 .*rank 8");
}

TEST_F(LoraTest, TheUsualRateIsThatOfFineTuning) {
  make_base();
  const auto told = [&](const std::string& out, const Arguments& more) {
    return succeed(tuned(out, 100, more + Arguments{"--eval-every", "100"})).out;
  };
  const char* const usual = ", usual where a model is trained";
  EXPECT_THAT(
      told("full", {"--optimizer", "adamw"}),
      HasSubstr(fmt::format("adamw with a learning rate of up to 2e-05{} and 3 steps", usual)));
  EXPECT_THAT(
      told("muon", {"--optimizer", "muon"}),
      HasSubstr(fmt::format("muon with a learning rate of up to 0.0003{} and 3 steps", usual)));
  EXPECT_THAT(told("lora", {"--lora-rank", "2"}),
              HasSubstr(fmt::format("adamw with a learning rate of up to 0.0002{}", usual)));
  EXPECT_THAT(told("asked", {"--lr", "0.005"}),
              AllOf(HasSubstr("a learning rate of up to 0.005 and"), Not(HasSubstr(usual))));
  EXPECT_EQ(values("full", "lr").at(3), 2e-05);
  // A run that goes on keeps both, and a new run has what is usual with it.
  const std::string resumed = succeed({"--resume", "full", "--steps", "120"}).out;
  EXPECT_THAT(resumed, Not(HasSubstr("changed --lr")));
  EXPECT_THAT(read("full/config.toml"),
              AllOf(HasSubstr("lr = 2e-05\n"), HasSubstr("\nwarmup = 3\n")));
  EXPECT_THAT(succeed(tiny("new", 10)).out, Not(HasSubstr("tuning")));
}

TEST_F(LoraTest, AnotherTokenizerIsRefusedAndTheSameWorks) {
  make_base();
  expect_one_sentence(program(tuned("other", 2, {"--tokenizer", "bytes"})),
                      "trained with another tokenizer");
  EXPECT_THAT(files_in("other"), testing::IsEmpty());
  succeed({"export", "--checkpoint", "base", "--out", "hf"});
  EXPECT_THAT(succeed(tuned("same", 2, {"--tokenizer", "hf/tokenizer.model"})).out,
              HasSubstr("weights from"));
  EXPECT_THAT(succeed(tiny("hf-run", 2, {"--init-from", "hf", "--data", "text.txt"})).out,
              HasSubstr("weights from"));
}

}  // namespace
}  // namespace cllm::cli
