#include <regex>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

/// Options that must be refused, and what the sentence says.
struct Refusal {
  std::string name;
  Arguments options;
  std::string regex;
  bool on_ranks = false;  ///< also tried on two ranks
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class RefusalTest : public ProgramTest, public testing::WithParamInterface<Refusal> {
 protected:
  RefusalTest() {
    write("text.txt", sample_text(300));
    write("empty.txt", "");
    write("binary.txt", std::string("ab\0cd", 5) + sample_text(100));
    write("one-line.txt", "hello\n");
    write("short.txt", sample_text(2));
    write("file", "a regular file");
    write("bad.toml", "stpes = 5\n");
    write("no-value.toml", "steps = 5\nlr = \"\"\n");
    write("odd.bin", "abc");
    // nanoGPT's: 16-bit tokens of GPT-2's 50257.
    write("range.bin.model", "no SentencePiece model");
    std::string range;  // tokens 0x0701
    for (int token = 0; token < 2001; ++token) range += "\x01\x07";
    write("range.bin", range.replace(2000, 2, "\xff\xff"));
    std::filesystem::create_directory(path("empty"));
  }
};

TEST_P(RefusalTest, IsOneSentenceAndLeavesNothing) {
  expect_one_sentence(program(tiny("run", 5, GetParam().options)), GetParam().regex);
  EXPECT_THAT(files_in("run"), IsEmpty());
  if (!GetParam().on_ranks) return;
  expect_one_sentence(program_on(2, tiny("run", 5, GetParam().options)), GetParam().regex);
  EXPECT_THAT(files_in("run"), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Data, RefusalTest,
    testing::Values(
        Refusal{"Missing", {"--data", "nowhere.txt"}, "/nowhere\\.txt: No such file", true},
        Refusal{"Empty", {"--data", "empty.txt"}, "/empty\\.txt is empty: give", true},
        Refusal{"EmptyDirectory", {"--data", "empty"}, "/empty holds no files"},
        Refusal{"Binary", {"--data", "binary.txt"}, "/binary\\.txt is not text: byte 2 is NUL"},
        Refusal{"OneLine", {"--data", "one-line.txt"}, "/one-line\\.txt: .*--context 64 needs"},
        Refusal{"ShorterThanTheContext",
                {"--data", "text.txt", "--context", "100000"},
                "/text\\.txt: .*--context 100000 needs at least 100001.*shorter context"},
        Refusal{"NoValidation",
                {"--data", "text.txt", "--validation-data", "nowhere.txt"},
                "/nowhere\\.txt: No such file"},
        Refusal{"EmptyValidation",
                {"--data", "text.txt", "--validation-data", "empty.txt"},
                "/empty\\.txt is empty"},
        Refusal{"OddTokenFile", {"--data", "odd.bin"}, "/odd\\.bin has 3 bytes.*cut short"},
        Refusal{"TokenOutOfRange",
                {"--data", "range.bin"},
                "/range\\.bin has token 65535 at position 1000"},
        Refusal{"UnknownTokenizer", {"--tokenizer", "byte"}, "--tokenizer byte: give bytes, bpe:N"},
        Refusal{"NoVocabulary", {"--tokenizer", "bpe:many"}, "--tokenizer bpe:many: give a voc"},
        Refusal{"VocabularyBeyondTheText",
                {"--data", "short.txt", "--tokenizer", "bpe:5000"},
                "bpe:5000"},
        Refusal{"NoTokenizerFile", {"--tokenizer", "nowhere.model"}, "/nowhere\\.model"},
        Refusal{"NotATokenizerFile", {"--tokenizer", "range.bin.model"}, "range\\.bin\\.model"}),
    [](const auto& refusal) { return refusal.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Options, RefusalTest,
    testing::Values(
        Refusal{"NoSteps", {"--steps", "0"}, "--steps 0: give a number from 1", true},
        Refusal{"NegativeSteps", {"--steps", "-5"}, "--steps -5: give a whole number", true},
        Refusal{"HugeSteps", {"--steps", "99999999999999999999"}, "--steps 9{20}: give a whole"},
        Refusal{"FractionOfSteps", {"--steps", "1.5"}, "--steps 1\\.5: give a whole number"},
        Refusal{"NegativeBatch", {"--batch", "-4"}, "--batch -4: give a whole number"},
        Refusal{"NoBatch", {"--batch", "0"}, "--batch 0: give a number from 1"},
        Refusal{"MicroBatch",
                {"--batch", "4", "--micro-batch", "5"},
                "--micro-batch 5: give a number of sequences from 1 to those of --batch, 4"},
        Refusal{"NegativeRate", {"--lr", "-0.1"}, "--lr -0\\.1: give a number above 0"},
        Refusal{"NoRate", {"--lr", "fast"}, "--lr fast: give a number"},
        Refusal{"NotANumber", {"--lr", "nan"}, "--lr nan"},
        Refusal{"MinimalRate", {"--min-lr", "1"}, "--min-lr 1: give a number from 0 to --lr"},
        Refusal{"NoThreads", {"--threads", "0"}, "--threads 0: give at least 1"},
        Refusal{"NegativeThreads", {"--threads", "-1"}, "--threads -1: give at least 1", true},
        Refusal{"Heads",
                {"--heads", "3"},
                "--heads 3 does not divide --channels 64; make the channels a multiple",
                true},
        Refusal{"NoRank", {"--embedding-rank", "0"}, "--embedding-rank 0: give dense, or a rank"},
        Refusal{"RankAboveChannels",
                {"--embedding-rank", "65"},
                "--embedding-rank 65: give a rank up to the 64 of --channels",
                true},
        Refusal{"EmbeddingInit", {"--embedding-init", "x"}, "--embedding-init x: choose corpus"},
        Refusal{"EmbeddingBasis", {"--embedding-basis", "x"}, "--embedding-basis x: choose latt"},
        Refusal{"RowOrder", {"--row-order", "ulam"}, "--row-order is no longer an option: it laid"},
        Refusal{"NoLayers", {"--layers", "0"}, "--layers 0: give a number from 1"},
        Refusal{"NoChannels", {"--channels", "0"}, "--channels 0: give a number from 1"},
        Refusal{"RollbackByTime",
                {"--on-spike", "rollback"},
                "--on-spike rollback.*--checkpoint-every"},
        Refusal{"SpikeAction", {"--on-spike", "panic"}, "--on-spike panic"},
        Refusal{"SpikeFactor", {"--spike-factor", "0.5"}, "--spike-factor 0.5"},
        Refusal{"MaxTime", {"--max-time", "3"}, "--max-time 3: give a time"},
        Refusal{"CheckpointWrite", {"--checkpoint-write", "soon"}, "--checkpoint-write soon"},
        Refusal{
            "CheckpointFailure", {"--on-checkpoint-failure", "cry"}, "--on-checkpoint-failure cry"},
        Refusal{"ReplicaMismatch", {"--on-replica-mismatch", "x"}, "--on-replica-mismatch x"},
        Refusal{"NothingToInit", {"--init-from", "absent"}, "absent does not exist"},
        Refusal{"TooLargeForMemory",
                {"--channels", "800000"},
                "the run needs about [0-9.]+ GB and [0-9.]+ GB are free; make the model smaller",
                true},
        Refusal{"OutInsideData",
                {"--data", ".", "--out", "run/below"},
                "--out run/below lies in --data"},
        Refusal{"NotUtf8", {"--data", "lat\xe9.txt"}, "is not UTF-8"},
        Refusal{"MistypedRequiredOption",
                {"sample", "--checkpint", "x"},
                "--checkpint; did you mean --checkpoint\\?"},
        Refusal{"UnknownOption", {"--stpes", "5"}, "--stpes; did you mean --steps\\?", true},
        Refusal{"OtherName", {"--batch_size", "5"}, "--batch_size; it is called --batch here"},
        Refusal{"NoSuchThing", {"--dropout=0.1"}, "--dropout; there is no dropout"},
        Refusal{"NoEpochs", {"--epochs", "0"}, "--epochs 0: give a number above 0"},
        Refusal{"HugeEpochs", {"--epochs", "1e9"}, "--epochs .*: give a number above 0"},
        Refusal{"StepsAndEpochs", {"--epochs", "2"}, "--steps 5 and --epochs 2: each says", true},
        Refusal{"UnknownPreset", {"--preset", "tini"}, "--preset tini: .*the presets are tiny, "},
        Refusal{"UnknownSchedule", {"--schedule", "cosin"}, "--schedule cosin: choose cosine, "},
        Refusal{"UnknownCommand", {"sampel"}, "sampel; did you mean sample\\?", true},
        Refusal{"NoValue", {"--seed"}, "--seed"},
        Refusal{"EmptyText", {"--resume", ""}, "--resume: give a value, or leave", true},
        Refusal{"EmptyFraction", {"--weight-decay", ""}, "--weight-decay: give a value"},
        Refusal{"EmptyNumber", {"--batch", ""}, "--batch: give a value"},
        Refusal{"BlankFraction", {"--lr", " "}, "--lr: give a value"},
        Refusal{"BlankNumber", {"--batch", "  "}, "--batch: give a value"},
        Refusal{"BlankPath", {"--data", " "}, "--data: give a value"},
        Refusal{"EmptyPath", {"--data", ""}, "--data: give a value"},
        Refusal{"EmptyAfterEquals", {"--resume=", "--seed", "1"}, "--resume=: give a value"},
        Refusal{"EmptyKey",
                {"--config", "no-value.toml"},
                "no-value\\.toml: line 2: lr has no value; give one, or leave the line out"},
        Refusal{"CheckpointInterval", {"--checkpoint-every", "soon"}, "--checkpoint-every soon: "},
        Refusal{"EvaluationSequences", {"--eval-sequences", "0"}, "--eval-sequences 0: give"},
        Refusal{"NoConfig", {"--config", "nowhere.toml"}, "nowhere\\.toml: No such file", true},
        Refusal{"UnknownKey", {"--config", "bad.toml"}, "bad\\.toml: .*stpes; did you mean steps"},
        Refusal{"NothingToResume", {"--resume", "nowhere"}, "nowhere does not exist", true},
        Refusal{"EmptyToResume", {"--resume", "empty"}, "empty holds no checkpoint"},
        Refusal{"NotACheckpoint", {"--resume", "text.txt"}, "text\\.txt .*"}),
    [](const auto& refusal) { return refusal.param.name; });

TEST_F(ProgramTest, ATokenFileThatWasCutShortIsRefused) {
  write("text.txt", sample_text(300));
  succeed({"tokenize", "--data", "text.txt", "--out", "whole.tokens"});
  const std::string whole = read("whole.tokens");
  for (const std::size_t size : {whole.size() - 1, whole.size() / 2, std::size_t{100}}) {
    write("cut.tokens", whole.substr(0, size));
    expect_one_sentence(program(tiny("run", 5, {"--data", "cut.tokens"})),
                        "/cut\\.tokens .*cut short");
  }
  std::string changed = whole;
  changed[300] = '\x7f';
  write("changed.tokens", changed);
  expect_one_sentence(program(tiny("run", 5, {"--data", "changed.tokens"})),
                      "/changed\\.tokens is corrupt");
  expect_one_sentence(program(tiny("run", 5, {"--data", "whole.tokens", "--tokenizer", "bpe:300"})),
                      "/whole\\.tokens holds tokens already.*--tokenizer bpe:300");
  EXPECT_THAT(files_in("run"), IsEmpty());
}

TEST_F(ProgramTest, ACheckpointWithAnotherTokenizerOrShapeIsNotResumed) {
  write("text.txt", sample_text(2000));
  succeed(tiny("run", 5, {"--data", "text.txt", "--tokenizer", "bpe:300"}));
  const std::string config = read("run/config.toml");
  const auto before = files_in("run");
  const auto refused = [&](const Arguments& options, const std::string& regex) {
    expect_one_sentence(program(Arguments{"--resume", "run", "--steps", "10"} + options), regex);
    EXPECT_EQ(read("run/config.toml"), config);
    EXPECT_EQ(files_in("run"), before);
  };
  refused({"--tokenizer", "unigram:300"}, "step-00000005\\.h5 .*another tokenizer");
  refused({"--tokenizer", "bytes"},
          "step-00000005\\.h5 was trained with another tokenizer .sentencepiece.* give now .bytes");
  refused({"--layers", "3"}, "step-00000005\\.h5 .*2 layers.*3 layers");
  expect_one_sentence(program_on(2, {"--resume", "run", "--steps", "10", "--layers", "3"}),
                      "step-00000005\\.h5 .*2 layers.*3 layers");
}

TEST_F(ProgramTest, ADamagedCheckpointIsRefusedByAllThatReadIt) {
  write("text.txt", sample_text(100));
  succeed(tiny("run", 5));
  const std::string name = "run/step-00000005.h5";
  const std::string whole = read(name);
  write(name, whole.substr(0, whole.size() / 2));
  const auto refused = [&](const Arguments& arguments) {
    expect_one_sentence(program(arguments), "step-00000005\\.h5");
  };
  refused({"--resume", "run", "--steps", "10"});
  refused({"inspect", "run"});
  refused({"sample", "--checkpoint", "run"});
  refused({"eval", "--checkpoint", "run", "--data", "text.txt"});
  std::string changed = whole;
  for (std::size_t i = whole.size() / 2; i < whole.size() / 2 + 64; ++i) changed[i] ^= 1;
  write(name, changed);
  refused({"--resume", "run", "--steps", "10"});
  refused({"inspect", "run"});
}

TEST_F(ProgramTest, ADirectoryThatHoldsARunIsNotWrittenOver) {
  succeed(tiny("run", 5));
  const std::string config = read("run/config.toml"), metrics_before = read("run/metrics.jsonl");
  for (const char* out : {"run", "./run/"}) {
    expect_one_sentence(program(tiny(out, 7)), "--out .*run/? already holds a run.*--resume");
  }
  expect_one_sentence(program_on(2, tiny("run", 7)), "--out run already holds a run");
  EXPECT_EQ(read("run/config.toml"), config);
  EXPECT_EQ(read("run/metrics.jsonl"), metrics_before);
}

TEST_F(ProgramTest, CommandsRefuseWhatTheyCannotUse) {
  write("text.txt", sample_text(100));
  write("empty.txt", "");
  succeed(tiny("run", 2));
  const auto refused = [&](const Arguments& arguments, const std::string& regex) {
    expect_one_sentence(program(arguments), regex);
  };
  refused({"sample"}, "--checkpoint is required");
  refused({"sample", "--checkpoint", "nowhere"}, "nowhere does not exist");
  refused({"sample", "--checkpoint", "run", "--temperature", "-1"}, "--temperature -1");
  refused({"sample", "--checkpoint", "run", "--top-p", "0"}, "--top-p 0");
  refused({"sample", "--checkpoint", "run", "--prompt", ""}, "--prompt");
  refused({"sample", "--checkpoint", "run", "--tokns", "1"}, "--tokns; did you mean --tokens");
  refused({"eval", "--checkpoint", "run"}, "--data is required");
  refused({"eval", "--checkpoint", "run", "--data", "nowhere.txt"}, "nowhere\\.txt");
  refused({"eval", "--checkpoint", "run", "--data", "empty.txt"}, "empty\\.txt is empty");
  refused({"inspect"}, "path is required");
  for (const char* command : {"inspect", "verify"}) refused({command, ""}, "path: give a value");
  refused({"eval", "--checkpoint", "", "--data", "text.txt"}, "--checkpoint: give a value");
  refused({"eval", "--checkpoint", "run", "--data", "text.txt", "--by-frequency", ""},
          "--by-frequency: give a value");
  refused({"bench", "--preset", ""}, "--preset: give a value");
  refused({"doctor", "--out", ""}, "--out: give a value");
  refused({"inspect", "text.txt"}, "text\\.txt");
  refused({"tokenize", "--data", "text.txt"}, "--out is required");
  refused({"tokenize", "--data", "text.txt", "--out", "run/config.toml"}, "config\\.toml exists");
  expect_one_sentence(program_on(2, {"sample", "--checkpoint", "nowhere"}), "nowhere does not");
  expect_one_sentence(program_on(2, {"eval", "--checkpoint", "run", "--data", "empty.txt"}),
                      "empty\\.txt is empty");
}

}  // namespace
}  // namespace cllm::cli
