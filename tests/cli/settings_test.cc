#include "cllm/cli/run/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "cllm/model/families.h"
#include "support/error_of.h"

namespace cllm::cli {
namespace {

using support::error_of;

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// What a command line comes to.
struct Resolved {
  explicit Resolved(const Arguments& arguments) {
    declare_train_options(app, settings);
    parse(app, arguments);
    resolve(app, settings);
  }
  CLI::App app;
  TrainSettings settings;
};

TrainSettings settings_of(const Arguments& arguments) { return Resolved(arguments).settings; }

std::string refusal(const Arguments& arguments) {
  const std::string message = error_of([&] { settings_of(arguments); });
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  return message;
}

TEST(OptionValuesTest, CheckpointsAreASpanOfStepsOrTime) {
  const auto is = [](const char* text, std::uint64_t steps, double seconds) {
    const Interval interval = settings_of({"--checkpoint-every", text}).checkpoint_every;
    EXPECT_EQ(interval.steps, steps) << text;
    EXPECT_EQ(interval.seconds, seconds) << text;
  };
  is("0", 0, 0);
  is("500", 500, 0);
  is("45s", 0, 45);
  is("30m", 0, 1800);
  is("1h30m", 0, 5400);
  is("1h1m1s", 0, 3661);
  is("90m", 0, 5400);
  for (const char* text : {"m", "-5", "-5m", "5x", "1h30", "1.5h", "30 m", "30m ", "h30m",
                           "99999999999999999999", "99999999999999999999m"}) {
    EXPECT_THAT(refusal({std::string("--checkpoint-every=") + text}),
                AllOf(HasSubstr(std::string("--checkpoint-every ") + text), HasSubstr("30m")));
  }
}

TEST(OptionValuesTest, CountsAreANumberOrAWord) {
  EXPECT_EQ(settings_of({"--eval-sequences=all"}).evaluation_sequences, 0u);
  EXPECT_EQ(settings_of({"--eval-sequences=4096"}).evaluation_sequences, 4096u);
  EXPECT_EQ(settings_of({"--team=auto"}).team, 0);
  EXPECT_EQ(settings_of({"--team=4"}).team, 4);
  EXPECT_EQ(settings_of({"--embedding-rank=dense"}).shape.embedding_rank, 0u);
  EXPECT_EQ(settings_of({"--embedding-rank=16"}).shape.embedding_rank, 16u);
  const TrainSettings bands = settings_of({"--embedding-bands=8:16,rest:4"});
  EXPECT_EQ(bands.embedding_bands.bands, model::bands_of("8:16,rest:4"));
  EXPECT_FALSE(bands.embedding_bands.usual);
  EXPECT_TRUE(settings_of({"--embedding-bands=auto"}).embedding_bands.usual);
  EXPECT_EQ(settings_of({"--embedding-bands=none"}).embedding_bands.bands.count, 0u);
  EXPECT_THAT(
      refusal({"--embedding-bands=8:16;rest:4"}),
      HasSubstr("--embedding-bands 8:16;rest:4: give rows and rank of each band, such as "));
  EXPECT_THAT(
      refusal({"--embedding-bands=auto", "--embedding-rank=4"}),
      HasSubstr("--embedding-bands auto and --embedding-rank 4: each says what the token "));
  for (const char* text : {"0", "-1", "some", "8x", "All"}) {
    EXPECT_THAT(refusal({std::string("--eval-sequences=") + text}),
                HasSubstr(std::string("--eval-sequences ") + text + ": give all, or a number"));
  }
  for (const char* text : {"0", "65", "-1", "two"}) {
    EXPECT_THAT(refusal({std::string("--team=") + text}),
                HasSubstr(std::string("--team ") + text + ": give auto, or a number of threads"));
  }
}

TEST(OptionValuesTest, ATraceIsARangeOfSteps) {
  const StepRange range = settings_of({"--trace=3:7"}).trace;
  EXPECT_EQ(range.first, 3u);
  EXPECT_EQ(range.last, 7u);
  EXPECT_EQ(settings_of({}).trace.last, 0u);
  for (const char* text : {"3", "3:", ":7", "7:3", "0:3", "a:b", "3:7:9"}) {
    EXPECT_THAT(refusal({std::string("--trace=") + text}),
                HasSubstr(std::string("--trace ") + text + ": give the first and the last step"));
  }
}

TEST(OptionValuesTest, TheWatchdogIsAutoOffOrATime) {
  EXPECT_EQ(settings_of({"--watchdog=auto"}).watchdog.steps, ranks::Patience().steps);
  EXPECT_TRUE(std::isinf(settings_of({"--watchdog=off"}).watchdog.seconds));
  EXPECT_EQ(settings_of({"--watchdog=1m"}).watchdog.seconds, 60);
  EXPECT_EQ(settings_of({"--watchdog=1m"}).watchdog.steps, 0);
  for (const char* text : {"9s", "0", "never"}) {
    EXPECT_THAT(refusal({std::string("--watchdog=") + text}),
                HasSubstr(std::string("--watchdog ") + text + ": give auto, off, or a time"));
  }
}

TEST(OptionValuesTest, AWordThatIsNoneOfTheFewComesWithThem) {
  EXPECT_EQ(settings_of({}).allreduce, ranks::Allreduce::kAuto);
  EXPECT_EQ(settings_of({"--allreduce=auto"}).allreduce, ranks::Allreduce::kAuto);
  EXPECT_EQ(settings_of({"--allreduce=mpi"}).allreduce, ranks::Allreduce::kMpi);
  for (const char* text : {"tree", "Ring", "ring "}) {
    EXPECT_THAT(refusal({std::string("--allreduce=") + text}),
                HasSubstr(std::string("--allreduce ") + text +
                          ": choose auto, mpi, ring, halving or flat"));
  }
  EXPECT_EQ(settings_of({"--schedule=wsd"}).decay, train::Decay::kWsd);
  EXPECT_THAT(refusal({"--schedule=cosin"}), HasSubstr("choose cosine, linear, wsd or constant"));
  EXPECT_THAT(refusal({"--on-spike=panic"}), HasSubstr("choose skip, clip, rollback or stop"));
}

TEST(OptionValuesTest, DurationsAreWrittenAsTheyAreRead) {
  for (const char* text : {"0s", "45s", "1m", "30m", "1h", "1h30m", "2h1s", "99h59m59s"}) {
    EXPECT_EQ(write_duration(read_duration(text).value()), text);
  }
}

TEST(ResolveTest, TheShapeIsThePresetsWhereNoOptionSaysOtherwise) {
  const model::ModelConfig tiny = model::find_preset("tiny").shape;
  EXPECT_EQ(settings_of({"--preset", "tiny"}).shape, tiny);
  model::ModelConfig changed = tiny;
  changed.channels = 96;
  changed.context = 32;
  EXPECT_EQ(settings_of({"--preset=tiny", "--channels=96", "--context=32"}).shape, changed);
  EXPECT_EQ(settings_of({"--context=32", "--channels=96", "--preset=tiny"}).shape, changed);
  EXPECT_EQ(settings_of({}).shape, model::find_preset("mini").shape);
}

TEST(ResolveTest, PartsAreTheFamilysWhereNoOptionSaysOtherwise) {
  const model::ModelConfig llama = settings_of({"--preset=tiny", "--family=llama"}).shape;
  EXPECT_EQ(llama.family, "llama");
  EXPECT_EQ(llama.parts, model::find_family("llama").parts);
  EXPECT_EQ(llama.mlp_width, 192u);  // 8/3 of 64, rounded up to a multiple of 32
  EXPECT_EQ(llama.kv_heads, 2u);
  EXPECT_EQ(settings_of({"--family=llama", "--preset=tiny"}).shape, llama);
  const model::ModelConfig mixed =
      settings_of({"--preset=tiny", "--family=llama", "--mlp=relu2", "--kv-heads=1"}).shape;
  EXPECT_EQ(mixed.parts.mlp, model::MlpKind::kRelu2);
  EXPECT_EQ(mixed.parts.norm, model::NormKind::kRms);
  EXPECT_EQ(mixed.mlp_width, 256u);
  EXPECT_EQ(mixed.kv_heads, 1u);
  // A published shape keeps what is its own until something is asked for that changes it.
  const model::ModelConfig published = model::find_preset("llama-42m").shape;
  EXPECT_EQ(settings_of({"--preset=llama-42m"}).shape, published);
  EXPECT_EQ(settings_of({"--preset=llama-42m", "--channels=256"}).shape.mlp_width, 704u);
  EXPECT_EQ(settings_of({"--preset=llama-42m", "--mlp-width=100"}).shape.mlp_width, 100u);
}

TEST(ResolveTest, AModelOfACheckpointIsTheBase) {
  CLI::App app;
  TrainSettings settings;
  declare_train_options(app, settings);
  parse(app, {"--softcap=20"});
  model::ModelConfig base = model::find_preset("llama-15m").shape;
  base.vocabulary = 77;
  resolve(app, settings, base);
  base.parts.softcap = 20;
  base.vocabulary = settings.shape.vocabulary;
  EXPECT_EQ(settings.shape, base);
}

TEST(ResolveTest, DerivesWhatIsNotGiven) {
  const TrainSettings s = settings_of({"--steps", "500", "--lr", "0.02"});
  EXPECT_EQ(s.warmup, 50u);
  EXPECT_EQ(s.evaluate_every, 50u);
  EXPECT_GE(s.micro_batch, 1u);
  EXPECT_EQ(s.batch % s.micro_batch, 0u);
  EXPECT_EQ(settings_of({"--steps", "5000"}).warmup, 100u);
  const TrainSettings one = settings_of({"--steps", "1"});
  EXPECT_EQ(one.warmup, 0u);
  EXPECT_EQ(one.evaluate_every, 1u);
}

// docs/recipes.md
TEST(ResolveTest, RatesAreWhatIsUsualWithTheOptimizer) {
  const TrainSettings muon = settings_of({"--steps", "500"});
  EXPECT_EQ(muon.optimizer.name, "muon");
  EXPECT_TRUE(muon.optimizer.scales_with_width);
  EXPECT_EQ(muon.decay, train::Decay::kLinear);
  EXPECT_EQ(muon.learning_rate, 0.014);
  EXPECT_EQ(muon.min_learning_rate, 0.01 * 0.014);
  const TrainSettings adamw = settings_of({"--steps", "500", "--optimizer", "adamw"});
  EXPECT_FALSE(adamw.optimizer.scales_with_width);
  EXPECT_EQ(adamw.decay, train::Decay::kCosine);
  EXPECT_EQ(adamw.learning_rate, 0.001);
  EXPECT_EQ(adamw.min_learning_rate, 0.001 / 10);
  EXPECT_EQ(settings_of({"--optimizer", "adamw", "--lr", "0.02"}).min_learning_rate, 0.02 / 10);
}

// What a new run trains; and what a run trained before there were families.
TEST(ResolveTest, TheUsualModelIsAnUntiedQwen3) {
  const model::ModelConfig shape = settings_of({}).shape;
  EXPECT_EQ(shape.family, "qwen3");
  EXPECT_FALSE(shape.parts.tied);
  model::ModelConfig gpt2{.layers = 4, .heads = 4, .channels = 128, .context = 64};
  EXPECT_EQ(settings_of({"--family=gpt2"}).shape, gpt2);
}

TEST(ResolveTest, AnEmbeddingOfOneRankIsTheOutputLayerTooUnlessToldOtherwise) {
  EXPECT_TRUE(settings_of({"--embedding-rank=8"}).shape.parts.tied);
  EXPECT_FALSE(settings_of({"--embedding-rank=8", "--tied=off"}).shape.parts.tied);
  EXPECT_FALSE(settings_of({"--embedding-bands=8:16,rest:8"}).shape.parts.tied);
}

TEST(ResolveTest, WhatIsGivenStays) {
  const TrainSettings s = settings_of({"--steps=500", "--lr=0.02", "--min-lr=0.01", "--warmup=3",
                                       "--eval-every=0", "--micro-batch=8", "--threads=3"});
  EXPECT_EQ(s.min_learning_rate, 0.01);
  EXPECT_EQ(s.warmup, 3u);
  EXPECT_EQ(s.evaluate_every, 0u);
  EXPECT_EQ(s.micro_batch, 8u);
  EXPECT_EQ(s.threads, 3);
}

TEST(ResolveTest, PathsBecomeAbsoluteAndWordsStay) {
  const std::string here = std::filesystem::current_path().string();
  const TrainSettings s =
      settings_of({"--data=a.txt", "--validation-data=b/c.txt", "--tokenizer=d.model"});
  EXPECT_EQ(s.data.front().path, here + "/a.txt");
  EXPECT_EQ(s.validation_data, here + "/b/c.txt");
  EXPECT_EQ(s.tokenizer, here + "/d.model");
  const TrainSettings words = settings_of({"--tokenizer=bpe:512"});
  EXPECT_EQ(words.data.front().path, "builtin");
  EXPECT_EQ(words.validation_data, "");
  EXPECT_EQ(words.tokenizer, "bpe:512");
}

TEST(ResolveTest, RefusesValuesThatMakeNoSense) {
  EXPECT_THAT(refusal({"--steps=0"}), HasSubstr("--steps 0"));
  EXPECT_THAT(refusal({"--batch=0"}), HasSubstr("--batch 0"));
  EXPECT_THAT(refusal({"--threads=0"}), HasSubstr("--threads 0"));
  EXPECT_THAT(refusal({"--threads=-1"}), HasSubstr("--threads -1"));
  EXPECT_THAT(refusal({"--batch=6", "--micro-batch=7"}),
              HasSubstr("from 1 to those of --batch, 6"));
  EXPECT_THAT(refusal({"--micro-batch=0"}), HasSubstr("--micro-batch 0"));
  for (const char* rate : {"0", "-1", "nan", "inf"}) {
    EXPECT_THAT(refusal({"--lr", rate}), HasSubstr("--lr"));
  }
  EXPECT_THAT(refusal({"--lr=0.1", "--min-lr=0.2"}), HasSubstr("--min-lr"));
  EXPECT_THAT(refusal({"--min-lr=-1"}), HasSubstr("--min-lr"));
  EXPECT_THAT(refusal({"--steps=5", "--warmup=5"}), HasSubstr("--warmup"));
  EXPECT_THAT(refusal({"--schedule=cosin"}), HasSubstr("--schedule cosin"));
  EXPECT_THAT(refusal({"--beta1=1"}), HasSubstr("--beta1"));
  EXPECT_THAT(refusal({"--beta2=-0.1"}), HasSubstr("--beta2"));
  EXPECT_THAT(refusal({"--weight-decay=-1"}), HasSubstr("--weight-decay"));
  EXPECT_THAT(refusal({"--embedding-rate=0"}), HasSubstr("--embedding-rate 0"));
  EXPECT_THAT(refusal({"--embedding-rate=inf"}), HasSubstr("--embedding-rate inf"));
  EXPECT_THAT(refusal({"--clip=-1"}), HasSubstr("--clip"));
  EXPECT_THAT(refusal({"--eval-sequences=0"}), HasSubstr("--eval-sequences"));
  EXPECT_THAT(refusal({"--checkpoint-every=soon"}), HasSubstr("--checkpoint-every"));
  EXPECT_THAT(refusal({"--preset=tini"}), AllOf(HasSubstr("--preset tini"), HasSubstr("tiny")));
}

TEST(ConfigTest, SaysAllThatTheRunNeedsAndNothingOfThisStart) {
  const Resolved asked({"--preset=tiny", "--steps=50", "--lr=0.00123456789", "--beta2=0.987654321",
                        "--data=my text.txt", "--out=there", "--seed=18446744073709551615"});
  const std::string text = config_toml(asked.app);
  for (const char* absent : {"out", "resume", "config", "help", "threads"}) {
    EXPECT_THAT(text, Not(testing::ContainsRegex(std::string("(^|\n)") + absent + " = ")));
  }
  CLI::App app;
  TrainSettings unused;
  declare_train_options(app, unused);
  const Resolved again(arguments_from_toml(text, "config.toml", app));
  const TrainSettings &a = asked.settings, &b = again.settings;
  EXPECT_EQ(a.shape, b.shape);
  EXPECT_EQ(a.learning_rate, b.learning_rate);
  EXPECT_EQ(a.min_learning_rate, b.min_learning_rate);
  EXPECT_EQ(a.optimizer.beta2, b.optimizer.beta2);
  EXPECT_EQ(a.data.front().path, b.data.front().path);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(config_toml(again.app), text);
}

TEST(ConfigTest, ValuesAreWrittenAsTheyWereGiven) {
  const Arguments given = {"--checkpoint-every=90m",
                           "--schedule=linear",
                           "--team=2",
                           "--allreduce=flat",
                           "--eval-sequences=all",
                           "--checkpoint-write=blocking",
                           "--on-checkpoint-failure=stop",
                           "--embedding-rank=8",
                           "--embedding-init=random",
                           "--optimizer=muon",
                           "--muon-iteration=polar-express",
                           "--on-spike=skip",
                           "--on-replica-mismatch=restore",
                           "--reduce=fp32"};
  const std::string text = config_toml(Resolved(given).app);
  for (const std::string& argument : given) {
    const std::size_t equals = argument.find('=');
    const std::string key = argument.substr(2, equals - 2), value = argument.substr(equals + 1);
    EXPECT_THAT(text, testing::AnyOf(HasSubstr("\n" + key + " = \"" + value + "\"\n"),
                                     HasSubstr("\n" + key + " = '" + value + "'\n"),
                                     HasSubstr("\n" + key + " = " + value + "\n")));
  }
  const std::string usual = config_toml(Resolved({}).app);
  for (const char* value : {"linear", "auto", "256", "30m", "background", "continue", "clip",
                            "stop", "exact", "lattice", "dense", "muon", "newton-schulz"}) {
    EXPECT_THAT(usual, HasSubstr(value));
  }
}

TEST(ConfigTest, ThreadsAreSaidWhereTheyWereAskedFor) {
  const Resolved asked({"--threads=3"});
  EXPECT_THAT(config_toml(asked.app), HasSubstr("threads = 3\n"));
}

}  // namespace
}  // namespace cllm::cli
