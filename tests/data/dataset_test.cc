#include "cllm/data/dataset.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/random.h"
#include "support/environment.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;

using testing::HasSubstr;

std::string lines(std::size_t count, std::uint64_t seed = 1) {
  static const char* const kParts[] = {"sun", "ray", "mo", "ther", "green", "gar", "den", "ing"};
  RandomStream random(seed, 8);
  std::string text;
  for (std::size_t line = 0; line < count; ++line) {
    for (int word = 0; word < 8; ++word) {
      for (int part = 0; part < 3; ++part) text += kParts[random.below(std::size(kParts))];
      text += word < 7 ? ' ' : '\n';
    }
  }
  return text;
}

class DatasetTest : public testing::Test {
 protected:
  DataOptions options(const std::string& data, const char* tokenizer = nullptr) const {
    DataOptions result;
    result.data = data;
    result.cache = scratch_.path() / "cache";
    result.context = 16;
    result.threads = 2;
    if (tokenizer != nullptr) result.tokenizer = parse_tokenizer_spec(tokenizer);
    return result;
  }
  /// Prepares, passes the description on as a broadcast would, and opens.
  Dataset load(const DataOptions& given) {
    said_.clear();
    const PreparedData prepared =
        prepare_data(given, [&](const std::string& message) { said_ += message + "\n"; });
    digest_ = prepared.digest();
    const PreparedData received = PreparedData::parse(prepared.serialize());
    EXPECT_EQ(received.digest(), digest_);
    EXPECT_EQ(received.tokenizer_blob, prepared.tokenizer_blob);
    return open_dataset(received, 2);
  }
  std::string prepare_error(const DataOptions& given) {
    return error_of([&] { prepare_data(given); });
  }
  static std::string text_of(const DataPart& part, const Tokenizer& tokenizer) {
    std::vector<std::uint32_t> tokens(part.tokens.size());
    part.tokens.copy(0, tokens.size(), tokens.data());
    return tokenizer.decode(tokens);
  }
  std::string tokenize(const DataOptions& given, const char* name) {
    const std::string out = (scratch_.path() / name).string();
    tokenize_data(given, out);
    return out;
  }

  support::ScratchDirectory scratch_;
  std::string said_, digest_;
};

TEST_F(DatasetTest, SplitsATextAfterNineTenthsAtALine) {
  const std::string text = lines(100);
  const std::string path = scratch_.write("a.txt", text);
  for (const char* tokenizer : {"bytes", "bpe:300", "unigram:300"}) {
    const Dataset dataset = load(options(path, tokenizer));
    const std::string train = text_of(dataset.train, *dataset.tokenizer);
    const std::string validation = text_of(dataset.validation, *dataset.tokenizer);
    EXPECT_EQ(train + validation, text);
    EXPECT_EQ(train.back(), '\n');
    EXPECT_GE(train.size(), text.size() * 9 / 10);
    EXPECT_LE(train.size(), text.size() * 9 / 10 + text.find('\n') * 3);
    EXPECT_EQ(dataset.vocabulary, dataset.tokenizer->vocabulary());
    EXPECT_EQ(dataset.train.source_bytes, train.size());
    EXPECT_EQ(dataset.validation.source_bytes, validation.size());
    EXPECT_DOUBLE_EQ(*dataset.validation.bytes_per_token(),
                     static_cast<double>(validation.size()) /
                         static_cast<double>(dataset.validation.tokens.size()));
  }
}

TEST_F(DatasetTest, IsBytesWhereNoTokenizerIsGiven) {
  const Dataset dataset = load(options(scratch_.write("a.txt", lines(20))));
  EXPECT_EQ(dataset.tokenizer->kind(), "bytes");
  EXPECT_EQ(*dataset.train.bytes_per_token(), 1.0);
}

TEST_F(DatasetTest, ASecondRunFindsEverythingCached) {
  const DataOptions given = options(scratch_.write("a.txt", lines(100)), "bpe:300");
  load(given);
  EXPECT_THAT(said_, HasSubstr("training the tokenizer"));
  EXPECT_THAT(said_, testing::Not(HasSubstr("cached")));
  const std::string first = digest_;
  load(given);
  EXPECT_THAT(said_, testing::Not(HasSubstr("training the tokenizer")));
  EXPECT_THAT(said_, HasSubstr("tokenizer bpe:300: cached"));
  EXPECT_THAT(said_, HasSubstr("training part: "));
  EXPECT_THAT(said_, testing::Not(HasSubstr("written")));
  EXPECT_EQ(digest_, first);
  // Another tokenizer or another text has its own entries.
  load(options(given.data, "bpe:310"));
  EXPECT_THAT(said_, HasSubstr("training the tokenizer"));
  EXPECT_NE(digest_, first);
  load(options(scratch_.write("a.txt", lines(100, 2)), "bpe:300"));
  EXPECT_THAT(said_, testing::Not(HasSubstr("cached")));
  EXPECT_NE(digest_, first);
}

TEST_F(DatasetTest, ADamagedCacheIsMadeAnew) {
  const DataOptions given = options(scratch_.write("a.txt", lines(100)), "bpe:300");
  load(given);
  const std::string first = digest_;
  for (const auto& entry : std::filesystem::directory_iterator(given.cache)) {
    std::filesystem::resize_file(entry.path(), entry.file_size() / 2);
  }
  load(given);
  EXPECT_THAT(said_, HasSubstr("damaged"));
  EXPECT_EQ(digest_, first);
  load(given);
  EXPECT_THAT(said_, testing::Not(HasSubstr("damaged")));
}

TEST_F(DatasetTest, ATokenizerSeesNothingOfTheValidationPart) {
  const std::string train = scratch_.write("train.txt", lines(100));
  DataOptions given = options(train, "bpe:300");
  given.validation = scratch_.write("a.txt", lines(10, 3));
  const std::string one = load(given).tokenizer->digest();
  given.validation = scratch_.write("b.txt", "other words altogether\n" + lines(10, 4));
  const Dataset dataset = load(given);
  EXPECT_EQ(dataset.tokenizer->digest(), one);
  // With a validation file, all of the data trains.
  EXPECT_EQ(text_of(dataset.train, *dataset.tokenizer), lines(100));
  EXPECT_THAT(text_of(dataset.validation, *dataset.tokenizer), HasSubstr("altogether"));
}

TEST_F(DatasetTest, ADirectoryIsItsFilesInOrder) {
  scratch_.write("d/b.txt", lines(5, 2));
  scratch_.write("d/a/z.txt", lines(5, 1));
  scratch_.write("d/c.md", lines(5, 3));
  scratch_.write("d/.hidden", "hidden");
  scratch_.write("d/.git/x", "hidden");
  const std::string directory = (scratch_.path() / "d").string();
  const Dataset dataset = load(options(directory, "bytes"));
  EXPECT_EQ(
      text_of(dataset.train, *dataset.tokenizer) + text_of(dataset.validation, *dataset.tokenizer),
      lines(5, 1) + lines(5, 2) + lines(5, 3));

  scratch_.write("d/e.bin", "ab");
  EXPECT_THAT(prepare_error(options(directory)), HasSubstr("e.bin"));
}

TEST_F(DatasetTest, ATextWithoutNewlinesIsCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 333; ++i) text += "é";
  for (const std::string end : {"", "\n"}) {
    const Dataset dataset = load(options(scratch_.write("a.txt", text + end), "bytes"));
    EXPECT_EQ(dataset.train.tokens.size() % 2, 0u);
    EXPECT_GE(dataset.train.tokens.size(), 597u);  // nine tenths, less at most one byte
    EXPECT_EQ(dataset.train.tokens.size() + dataset.validation.tokens.size(), 666 + end.size());
  }
}

TEST_F(DatasetTest, ALineThatEndsFarAwayDoesNotShiftTheCut) {
  std::string paragraph;
  for (int i = 0; i < 1000; ++i) paragraph += "one long paragraph of words ";
  for (const std::string end : {"\nEnd\n", "\n\n", "\n"}) {
    const std::string text = paragraph + end;
    const Dataset dataset = load(options(scratch_.write("a.txt", text), "bytes"));
    const auto share =
        static_cast<double>(dataset.validation.tokens.size()) / static_cast<double>(text.size());
    EXPECT_NEAR(share, 0.1, 0.001);
  }
  // A line that ended just before is as good as one that ends soon.
  const std::string text = std::string(895, 'a') + "\n" + std::string(104, 'b');
  const Dataset dataset = load(options(scratch_.write("a.txt", text), "bytes"));
  EXPECT_EQ(text_of(dataset.validation, *dataset.tokenizer), std::string(104, 'b'));
}

TEST_F(DatasetTest, AnOldRunKeepsItsTextRules) {
  std::string paragraph;
  for (int i = 0; i < 1000; ++i) paragraph += "one long paragraph of words ";
  DataOptions given = options(scratch_.write("a.txt", paragraph + "\nEnd\n"), "bytes");
  given.text_rules = TextRules::kFirst;
  const Dataset cut = load(given);
  EXPECT_EQ(text_of(cut.validation, *cut.tokenizer), "End\n");
  scratch_.write("d/a.txt", "\xEF\xBB\xBF" + lines(5) + "end");
  scratch_.write("d/b.txt", "begin" + lines(5));
  given.data = (scratch_.path() / "d").string();
  const Dataset joined = load(given);
  EXPECT_EQ(
      text_of(joined.train, *joined.tokenizer) + text_of(joined.validation, *joined.tokenizer),
      "\xEF\xBB\xBF" + lines(5) + "endbegin" + lines(5));
}

TEST_F(DatasetTest, FilesOfADirectoryAreLinesOfTheirOwn) {
  scratch_.write("d/a.txt", "\xEF\xBB\xBF" + lines(5) + "end");
  scratch_.write("d/b.txt", "\xEF\xBB\xBF" + std::string("begin\n"));
  scratch_.write("d/c.txt", "");
  scratch_.write("d/d.txt", lines(5));
  const Dataset dataset = load(options((scratch_.path() / "d").string()));
  EXPECT_EQ(
      text_of(dataset.train, *dataset.tokenizer) + text_of(dataset.validation, *dataset.tokenizer),
      lines(5) + "end\nbegin\n" + lines(5));
}

TEST_F(DatasetTest, LinksOfADirectoryAreFollowed) {
  namespace fs = std::filesystem;
  scratch_.write("far/away/b.txt", lines(5, 2));
  scratch_.write("elsewhere.txt", lines(5, 3));
  scratch_.write("d/a.txt", lines(5, 1));
  const fs::path directory = scratch_.path() / "d";
  fs::create_directory_symlink(scratch_.path() / "far", directory / "b");
  fs::create_symlink(scratch_.path() / "elsewhere.txt", directory / "c.txt");
  // Other names for what was read already, and ways round in circles.
  fs::create_directory_symlink(scratch_.path() / "far" / "away", directory / "z");
  fs::create_symlink(directory / "a.txt", directory / "y.txt");
  fs::create_directory_symlink(directory, scratch_.path() / "far" / "back");
  const Dataset dataset = load(options(directory.string()));
  EXPECT_EQ(
      text_of(dataset.train, *dataset.tokenizer) + text_of(dataset.validation, *dataset.tokenizer),
      lines(5, 1) + lines(5, 2) + lines(5, 3));
  fs::create_symlink(scratch_.path() / "nowhere", directory / "gone");
  EXPECT_THAT(prepare_error(options(directory.string())),
              testing::AllOf(HasSubstr("gone"), HasSubstr("link to nothing")));
}

TEST_F(DatasetTest, WhatRunsWroteBelowADirectoryIsLeftOut) {
  scratch_.write("d/a.txt", lines(10));
  scratch_.write("d/checkpoints/one/metrics.jsonl", "{}");
  scratch_.write("d/checkpoints/one/config.toml", "steps = 4");
  scratch_.write("d/two/step-00000002.h5", std::string(10, '\0'));
  scratch_.write("d/two/config.toml", "steps = 4");
  scratch_.write("d/token-cache/x.tokens", "CLLMTOK\n");
  const Dataset dataset = load(options((scratch_.path() / "d").string()));
  EXPECT_EQ(
      text_of(dataset.train, *dataset.tokenizer) + text_of(dataset.validation, *dataset.tokenizer),
      lines(10));
  EXPECT_THAT(said_, HasSubstr("d/two was left out"));
  EXPECT_THAT(prepare_error(options((scratch_.path() / "d/two").string())),
              testing::AllOf(HasSubstr("d/two"), HasSubstr("directory of a run")));
}

TEST_F(DatasetTest, ATokenFileBringsItsTokenizer) {
  const std::string text = scratch_.write("a.txt", lines(100));
  const std::string file = tokenize(options(text, "bpe:300"), "a.tokens");
  const Dataset dataset = load(options(file));
  EXPECT_EQ(
      text_of(dataset.train, *dataset.tokenizer) + text_of(dataset.validation, *dataset.tokenizer),
      lines(100));
  const std::size_t all = dataset.train.tokens.size() + dataset.validation.tokens.size();
  EXPECT_EQ(dataset.train.tokens.size(), all * 9 / 10);
  EXPECT_EQ(dataset.validation.source_bytes,
            text_of(dataset.validation, *dataset.tokenizer).size());
  EXPECT_EQ(dataset.train.source_bytes + dataset.validation.source_bytes, lines(100).size());

  // A validation file may be text, which is encoded alike, or tokens of the same tokenizer.
  DataOptions given = options(file);
  given.validation = scratch_.write("v.txt", lines(7, 5));
  EXPECT_EQ(text_of(load(given).validation, *dataset.tokenizer), lines(7, 5));
  given.validation = file;
  EXPECT_EQ(load(given).validation.tokens.size(), all);
  given.validation = tokenize(options(text, "bytes"), "bytes.tokens");
  EXPECT_THAT(prepare_error(given), HasSubstr("another tokenizer"));

  EXPECT_THAT(prepare_error(options(file, "bpe:300")), HasSubstr("leave the option out"));
  EXPECT_THAT(prepare_error(options(file, "bytes")), HasSubstr("another tokenizer"));
  EXPECT_THAT(error_of([&] { tokenize(options(file), "again.tokens"); }),
              HasSubstr("tokens already"));
}

TEST_F(DatasetTest, ALargeFileThatDidNotChangeIsNotReadAgain) {
  // 16-bit tokens, 18 MB of them, and times of long ago.
  const std::string path = scratch_.write("x/some.bin", std::string(18'000'000, '\1'));
  const auto age = [&](const std::string& file) {
    const auto now = std::filesystem::file_time_type::clock::now();
    std::filesystem::last_write_time(file, now - std::chrono::hours(1));
  };
  age(path);
  // The change of the times is a change too, that one sees a moment later.
  std::this_thread::sleep_for(std::chrono::milliseconds(3100));
  const auto known = HasSubstr("unchanged since they were checked");
  const Dataset first = load(options(path));
  EXPECT_THAT(said_, testing::Not(known));
  const std::string digest = digest_;
  EXPECT_EQ(load(options(path)).train.tokens.size(), first.train.tokens.size());
  EXPECT_THAT(said_, known);
  EXPECT_EQ(digest_, digest);
  // Bytes of a tokenizer have to be counted; then they are known, with all else.
  EXPECT_THAT(prepare_error(options(path, "bytes")), HasSubstr("token 257"));
  scratch_.write("x/some.bin", std::string(17'999'998, '\1') + std::string("\2\1", 2));
  age(path);
  load(options(path));
  EXPECT_THAT(said_, testing::Not(known));
  EXPECT_NE(digest_, digest);
}

TEST_F(DatasetTest, ATokenThatOnlyThisHostHasIsFoundWhenItIsRead) {
  const std::string path = scratch_.write("x.bin", std::string(2000, '\1'));
  const PreparedData prepared = prepare_data(options(path));
  scratch_.write("x.bin", std::string(1998, '\1') + "\xFF\xFF");
  const Dataset dataset = open_dataset(prepared);
  std::uint32_t token = 0;
  EXPECT_NO_THROW(dataset.train.tokens.copy(0, 1, &token));
  EXPECT_THAT(error_of([&] {
                dataset.validation.tokens.copy(dataset.validation.tokens.size() - 1, 1, &token);
              }),
              HasSubstr("token 65535"));
}

TEST_F(DatasetTest, ForeignTokensHaveNoTokenizerUnlessOneIsGiven) {
  // Characters as 16-bit tokens.
  std::string raw;
  for (const char byte : lines(20)) raw += std::string{byte, '\0'};
  const std::string path = scratch_.write("x/some.bin", raw);
  const Dataset unknown = load(options(path));
  EXPECT_EQ(unknown.tokenizer, nullptr);
  EXPECT_EQ(unknown.vocabulary, 50257u);
  EXPECT_FALSE(unknown.validation.bytes_per_token().has_value());
  EXPECT_EQ(unknown.train.tokens.size(), lines(20).size() * 9 / 10);

  const Dataset known = load(options(path, "bytes"));
  EXPECT_EQ(known.vocabulary, 256u);
  EXPECT_EQ(text_of(known.train, *known.tokenizer) + text_of(known.validation, *known.tokenizer),
            lines(20));
  EXPECT_EQ(*known.validation.bytes_per_token(), 1.0);

  DataOptions given = options(path);
  given.validation = scratch_.write("v.txt", lines(5));
  EXPECT_THAT(prepare_error(given), HasSubstr("unknown tokenizer"));
  const std::string out_of_range = scratch_.write("y/some.bin", raw + std::string("\0\1", 2));
  EXPECT_THAT(prepare_error(options(out_of_range, "bytes")), HasSubstr("token 256"));
}

TEST_F(DatasetTest, ReadsANanoGptDirectory) {
  scratch_.write("n/train.bin", std::string(2000, '\1'));
  scratch_.write("n/val.bin", std::string(200, '\1'));
  const Dataset dataset = load(options((scratch_.path() / "n").string()));
  EXPECT_EQ(dataset.train.tokens.size(), 1000u);
  EXPECT_EQ(dataset.validation.tokens.size(), 100u);
}

TEST_F(DatasetTest, TheBuiltinCorpusNeedsNoFiles) {
  DataOptions given = options("builtin", "bpe:500");
  given.builtin_bytes = 50'000;
  const Dataset dataset = load(given);
  EXPECT_FALSE(std::filesystem::exists(given.cache));
  EXPECT_GE(dataset.train.source_bytes + dataset.validation.source_bytes, 50'000u);
  const std::string train = text_of(dataset.train, *dataset.tokenizer);
  EXPECT_EQ(train.size(), dataset.train.source_bytes);
  const std::string first = digest_;
  EXPECT_EQ(text_of(load(given).train, *dataset.tokenizer), train);
  EXPECT_EQ(digest_, first);
  given.builtin_seed = 2;
  load(given);
  EXPECT_NE(digest_, first);
}

TEST_F(DatasetTest, NoticesThatAFileChangedAfterItWasPrepared) {
  const std::string path = scratch_.write("a.txt", lines(100));
  const PreparedData prepared = prepare_data(options(path, "bytes"));
  EXPECT_NO_THROW(open_dataset(prepared));
  PreparedData other = prepare_data(options(scratch_.write("a.txt", lines(100, 2)), "bytes"));
  std::filesystem::copy_file(other.train.path, prepared.train.path,
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error_of([&] { open_dataset(prepared); }), HasSubstr("not the file"));
  std::filesystem::remove(prepared.train.path);
  EXPECT_THAT(error_of([&] { open_dataset(prepared); }), HasSubstr(prepared.train.path));
  EXPECT_THAT(error_of([] { PreparedData::parse("rubbish"); }), HasSubstr("corrupt"));
}

TEST_F(DatasetTest, LoadsAWholeFileForEvaluation) {
  const std::string text = scratch_.write("a.txt", lines(100));
  const auto bytes = make_tokenizer("bytes", "");
  const DataPart part = load_part(text, bytes.get(), 256, 2);
  EXPECT_EQ(text_of(part, *bytes), lines(100));
  EXPECT_EQ(part.source_bytes, lines(100).size());
  const std::string file = tokenize(options(text, "bytes"), "a.tokens");
  EXPECT_EQ(text_of(load_part(file, bytes.get(), 256), *bytes), lines(100));
  const std::string other = tokenize(options(text, "bpe:300"), "b.tokens");
  EXPECT_THAT(error_of([&] { load_part(other, bytes.get(), 256); }),
              HasSubstr("another tokenizer"));
  const std::string foreign = scratch_.write("z.bin", std::string("\0\1", 2));
  EXPECT_THAT(error_of([&] { load_part(foreign, bytes.get(), 256); }), HasSubstr("token 256"));
}

TEST_F(DatasetTest, BadInputIsNamedInOneSentence) {
  const auto path = [&](const char* name) { return (scratch_.path() / name).string(); };
  EXPECT_THAT(prepare_error(options(path("absent.txt"))), HasSubstr("absent.txt"));
  EXPECT_THAT(prepare_error(options(scratch_.write("empty.txt", ""))),
              testing::AllOf(HasSubstr("empty.txt"), HasSubstr("is empty")));
  std::filesystem::create_directory(path("none"));
  EXPECT_THAT(prepare_error(options(path("none"))), HasSubstr("no files"));
  scratch_.write("hollow/a.txt", "");
  EXPECT_THAT(prepare_error(options(path("hollow"))), HasSubstr("is empty"));
  std::filesystem::create_symlink(path("nowhere"), path("dangling.txt"));
  EXPECT_THAT(prepare_error(options(path("dangling.txt"))), HasSubstr("dangling.txt"));
  EXPECT_THAT(prepare_error(options("/dev/null")), HasSubstr("not a regular file"));

  // Shorter than the context of 16: the numbers are in the message.
  EXPECT_THAT(
      prepare_error(options(scratch_.write("short.txt", "ten bytes\n"))),
      testing::AllOf(HasSubstr("short.txt"), HasSubstr("--context 16"), HasSubstr("at least 17")));
  DataOptions given = options(scratch_.write("good.txt", lines(20)));
  given.validation = scratch_.write("v.txt", "x");
  EXPECT_THAT(prepare_error(given), testing::AllOf(HasSubstr("v.txt"), HasSubstr("at least 2")));
  given.validation = path("absent.txt");
  EXPECT_THAT(prepare_error(given), HasSubstr("absent.txt"));

  const std::string good = tokenize(options(path("good.txt"), "bytes"), "good.tokens");
  const std::string contents = read_file(good);
  EXPECT_THAT(
      prepare_error(options(scratch_.write("cut.tokens", contents.substr(0, contents.size() / 2)))),
      HasSubstr("cut short"));
}

TEST_F(DatasetTest, BinaryDataIsRefusedUnlessBytesAreAskedFor) {
  const std::string binary = lines(10) + std::string(1, '\0') + lines(10);
  const std::string path = scratch_.write("x.gz", binary);
  for (const DataOptions& given : {options(path), options(path, "bpe:300")}) {
    EXPECT_THAT(prepare_error(given),
                testing::AllOf(HasSubstr(path), HasSubstr("--tokenizer bytes")));
  }
  const Dataset dataset = load(options(path, "bytes"));
  EXPECT_EQ(
      text_of(dataset.train, *dataset.tokenizer) + text_of(dataset.validation, *dataset.tokenizer),
      binary);
  // A model of bytes is not asked for by its data.
  const auto bytes = make_tokenizer("bytes", "");
  EXPECT_THAT(error_of([&] { load_part(path, bytes.get(), 256); }), HasSubstr("is not text"));
  EXPECT_EQ(load_part(path, bytes.get(), 256, 1, {.binary = true}).tokens.size(), binary.size());
  EXPECT_THAT(prepare_error(options(scratch_.write("x.txt", std::string("\xFF\xFEh\0i\0", 6)))),
              HasSubstr("UTF-16"));

  scratch_.write("d/a.txt", lines(10));
  scratch_.write("d/b.png", binary);
  EXPECT_THAT(prepare_error(options((scratch_.path() / "d").string())), HasSubstr("b.png"));
}

TEST_F(DatasetTest, AnUnreadableFileIsNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read any file";
  const std::string path = scratch_.write("secret.txt", lines(20));
  std::filesystem::permissions(path, std::filesystem::perms::none);
  EXPECT_THAT(prepare_error(options(path)), HasSubstr(path));
}

TEST_F(DatasetTest, ReadsRealText) {
  const char* folder = std::getenv("CLLM_DATA_DIR");
  const auto path =
      std::filesystem::path(folder != nullptr ? folder : CLLM_DATA_DIR) / "tinyshakespeare.txt";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  const Dataset dataset = load(options(path.string(), "bpe:4096"));
  EXPECT_EQ(
      text_of(dataset.train, *dataset.tokenizer) + text_of(dataset.validation, *dataset.tokenizer),
      read_file(path));
  EXPECT_TRUE(dataset.tokenizer->lossless());
  // English at this vocabulary has 3 to 4 bytes a token.
  EXPECT_GT(*dataset.train.bytes_per_token(), 2.9);
  EXPECT_LT(*dataset.train.bytes_per_token(), 4.0);
}

}  // namespace
}  // namespace cllm::data
