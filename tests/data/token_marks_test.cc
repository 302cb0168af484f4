#include "cllm/data/token_marks.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "cllm/base/file.h"
#include "cllm/base/random.h"
#include "cllm/data/document_rows.h"
#include "cllm/data/row_source.h"
#include "cllm/data/sequences.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::data {
namespace {

using support::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using Numbers = std::vector<std::uint64_t>;

TEST(TokenMarksTest, BitsAreThoseThatWereAdded) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    RandomStream random(seed, 0);
    TokenMarks marks;
    std::vector<bool> wanted;
    std::uint64_t bytes = 0;
    for (int i = 0; i < 60; ++i) {
      const std::uint64_t count = random.below(i % 7 == 0 ? 200 : 5);
      const bool counts = random.below(3) > 0;
      marks.add(count, 2 * count, counts);
      wanted.insert(wanted.end(), count, counts);
      if (counts) bytes += 2 * count;
    }
    EXPECT_EQ(marks.tokens, wanted.size());
    EXPECT_EQ(marks.counted_bytes, bytes);
    ASSERT_EQ(marks.counted.size(), (wanted.size() + 63) / 64);
    for (const std::uint64_t first : {0U, 1U, 63U, 64U, 100U}) {
      const TokenMask mask(marks.counted, first);
      std::uint64_t sum = 0;
      for (std::uint64_t i = first; i < wanted.size(); ++i) {
        EXPECT_EQ(mask.count(0, i - first), sum);
        EXPECT_EQ(mask[i - first], wanted[i]);
        sum += wanted[i] ? 1 : 0;
      }
    }
  }
  TokenMarks all;
  all.add(100, 7, true);
  EXPECT_TRUE(all.counted.empty());
  EXPECT_TRUE(TokenMask().empty());
  EXPECT_EQ(TokenMask().count(3, 10), 7u);
}

TEST(TokenMarksTest, DocumentsOfAPart) {
  const Numbers starts = {0, 5, 6, 20, 31};
  const Documents all(starts, 0, 40);
  EXPECT_EQ(all.size(), 5u);
  EXPECT_EQ(all.start(3), 20u);
  EXPECT_EQ(all.start(5), 40u);
  // One that begins within a document, and one that begins with a document.
  const Documents within(starts, 10, 15), exact(starts, 5, 16);
  EXPECT_THAT((Numbers{within.start(0), within.start(1), within.start(2)}), ElementsAre(0, 10, 15));
  EXPECT_EQ(within.size(), 2u);
  EXPECT_THAT((Numbers{exact.size(), exact.start(1), exact.start(2)}), ElementsAre(3, 1, 15));
  for (std::uint64_t token = 0; token < 15; ++token) {
    EXPECT_EQ(within.of_token(token), token < 10 ? 0u : 1u);
  }
  EXPECT_FALSE(Documents().known());
  EXPECT_EQ(Documents({}, 3, 7).size(), 1u);
}

/// Documents of random lengths, some of one token and some longer than rows.
Numbers random_starts(std::uint64_t seed, std::uint64_t count, std::uint64_t longest,
                      std::uint64_t& tokens) {
  RandomStream random(seed, 1);
  Numbers starts;
  tokens = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    starts.push_back(tokens);
    tokens += 1 + random.below(random.below(10) == 0 ? longest : 12);
  }
  return starts;
}

TEST(PackingTest, NothingIsLostAndRowsBeginAtDocuments) {
  for (const std::uint64_t context : {1U, 4U, 16U, 100U}) {
    std::uint64_t tokens = 0;
    const Numbers starts = random_starts(context, 400, 70, tokens);
    const Documents documents(starts, 0, tokens);
    const std::set<std::uint64_t> begins(starts.begin(), starts.end());
    std::vector<int> seen(tokens), targets(tokens);
    std::uint64_t next = 0, padding = 0, rows = 0;
    const PackingFigures figures = pack_documents(documents, context, [&](const Row& row) {
      ASSERT_GE(row.count, 1u);
      ASSERT_LE(row.count, context + 1);
      const bool continues = begins.count(row.first) == 0;
      // A row goes on where the last one ended, with its last token where a document goes on.
      ASSERT_EQ(row.first, next - (continues ? 1 : 0));
      next = row.first + row.count;
      // It ends with a document, or is full.
      ASSERT_TRUE(row.count == context + 1 || next == tokens || begins.count(next) > 0);
      for (std::uint64_t i = row.first; i < next; ++i) ++seen[i];
      for (std::uint64_t i = row.first + 1; i < next; ++i) ++targets[i];
      padding += context + 1 - row.count;
      ++rows;
    });
    EXPECT_EQ(next, tokens);
    EXPECT_EQ(figures.rows, rows);
    EXPECT_EQ(figures.padding, padding);
    EXPECT_EQ(figures.documents, starts.size());
    std::uint64_t long_ones = 0;
    for (std::size_t i = 0; i < starts.size(); ++i) {
      long_ones += documents.start(i + 1) - documents.start(i) > context + 1 ? 1 : 0;
    }
    EXPECT_EQ(figures.long_ones, long_ones);
    for (std::uint64_t i = 0; i < tokens; ++i) {
      EXPECT_GE(seen[i], 1);
      // Every token is a target once, but those that begin a row with their document.
      EXPECT_LE(targets[i], 1);
      if (begins.count(i) == 0) {
        EXPECT_EQ(targets[i], 1) << i;
      }
    }
  }
}

TEST(PackingTest, WholeDocumentsShareARow) {
  std::vector<Numbers> rows;
  const Numbers starts = {0, 3, 7, 8, 20, 22};
  const PackingFigures figures = pack_documents(Documents(starts, 0, 25), 7, [&](const Row& row) {
    rows.push_back({row.first, row.count});
  });
  // 3 + 4 + 1 fill a row; 12 go on in a second, where the 2 fit too, and the 3 no more.
  EXPECT_THAT(rows, ElementsAre(Numbers{0, 8}, Numbers{8, 8}, Numbers{15, 7}, Numbers{22, 3}));
  EXPECT_EQ(figures.padding, 6u);
  EXPECT_EQ(figures.long_ones, 1u);
  EXPECT_EQ(figures.continued, 1u);
}

TEST(PackingTest, ATableOnDiskIsThatInMemory) {
  const support::ScratchDirectory scratch;
  std::uint64_t tokens = 0;
  const Numbers starts = random_starts(5, 300, 40, tokens);
  const Documents documents(starts, 0, tokens);
  const std::filesystem::path path = scratch.path() / "a.rows";
  DocumentRows::write(path, documents, tokens, 20);
  const DocumentRows in_memory(documents, tokens, 20), on_disk(path, tokens, 20, true);
  ASSERT_EQ(on_disk.size(), in_memory.size());
  for (std::uint64_t i = 0; i < on_disk.size(); ++i) {
    EXPECT_EQ(on_disk[i].first, in_memory[i].first);
    EXPECT_EQ(on_disk[i].count, in_memory[i].count);
  }
  EXPECT_EQ(on_disk.figures().padding, in_memory.figures().padding);

  // Of other documents, another context, cut short, changed.
  EXPECT_THAT(error_of([&] { DocumentRows(path, tokens + 1, 20); }), HasSubstr("a.rows"));
  EXPECT_THAT(error_of([&] { DocumentRows(path, tokens, 21); }), HasSubstr("a.rows"));
  const std::string whole = read_file(path);
  scratch.write("b.rows", whole.substr(0, whole.size() - 3));
  EXPECT_THAT(error_of([&] { DocumentRows(scratch.path() / "b.rows", tokens, 20); }),
              HasSubstr("made anew"));
  std::string changed = whole;
  changed[96 + 7] = '\x7f';  // the first row lies far behind the tokens
  scratch.write("c.rows", changed);
  EXPECT_THAT(error_of([&] { DocumentRows(scratch.path() / "c.rows", tokens, 20, true); }),
              HasSubstr("digest"));
  const DocumentRows unread(scratch.path() / "c.rows", tokens, 20);
  EXPECT_THAT(error_of([&] { unread[0]; }), HasSubstr("damaged"));
}

TEST(PackingTest, EveryEpochReadsEveryRowOnce) {
  std::uint64_t tokens = 0;
  const Numbers starts = random_starts(6, 500, 40, tokens);
  const auto rows = std::make_shared<const DocumentRows>(Documents(starts, 0, tokens), tokens, 20);
  const DocumentOrder order(3, rows), same(3, rows), other(4, rows);
  std::uint64_t alike = 0;
  for (const std::uint64_t epoch : {0U, 1U, 7U}) {
    std::map<std::uint64_t, int> firsts;
    for (std::uint64_t i = epoch * rows->size(); i < (epoch + 1) * rows->size(); ++i) {
      ++firsts[order.row(i).first];
      EXPECT_EQ(order.row(i).first, same.row(i).first);
      alike += order.row(i).first == other.row(i).first ? 1 : 0;
    }
    EXPECT_EQ(firsts.size(), rows->size());
  }
  EXPECT_LT(alike, rows->size() / 4);
}

TEST(RowSourceTest, ReadsTokensWhatCountsAndWhereDocumentsBegin) {
  constexpr std::size_t kTokens = 30, kPositions = 8;
  std::vector<std::uint32_t> tokens(kTokens);
  for (std::size_t i = 0; i < kTokens; ++i) tokens[i] = static_cast<std::uint32_t>(100 + i);
  TokenMarks marks;
  marks.add(12, 0, true);
  marks.add(3, 0, false);
  marks.add(15, 0, true);
  const Numbers starts = {0, 10, 13, 20};
  const RowSource source{TokenView(std::span<const std::uint32_t>(tokens)),
                         TokenMask(marks.counted), Documents(starts, 0, kTokens)};
  std::vector<std::uint32_t> inputs(kPositions), targets(kPositions), begins(kPositions);
  const RowView view{inputs.data(), targets.data(), begins.data()};
  const std::uint32_t no = kUncounted;
  source.read({7, 9}, kPositions, view);
  EXPECT_THAT(inputs, ElementsAre(107, 108, 109, 110, 111, 112, 113, 114));
  EXPECT_THAT(targets, ElementsAre(108, 109, 110, 111, no, no, no, 115));
  EXPECT_THAT(begins, ElementsAre(0, 0, 0, 3, 3, 3, 6, 6));
  EXPECT_EQ(source.counted({7, 9}), 5u);
  // A shorter row is padded with what doesn't count, a document of its own.
  source.read({13, 4}, kPositions, view);
  EXPECT_THAT(inputs, ElementsAre(113, 114, 115, 116, 0, 0, 0, 0));
  EXPECT_THAT(targets, ElementsAre(no, 115, 116, no, no, no, no, no));
  EXPECT_THAT(begins, ElementsAre(0, 0, 0, 0, 4, 4, 4, 4));
  EXPECT_EQ(source.counted({13, 4}), 2u);
  source.read({29, 1}, kPositions, view);
  EXPECT_THAT(targets, testing::Each(no));
  EXPECT_EQ(source.counted({29, 1}), 0u);
}

TEST(RowSourceTest, SequencesKnowWhetherAllCounts) {
  std::uint64_t tokens = 0;
  const Numbers starts = random_starts(8, 100, 30, tokens);
  std::vector<std::uint32_t> text(tokens, 1);
  const TokenView view{std::span<const std::uint32_t>(text)};
  const Documents documents(starts, 0, tokens);
  const auto windows = std::make_shared<const WindowSampler>(1, tokens, 16);
  const auto rows = std::make_shared<const DocumentOrder>(
      1, std::make_shared<const DocumentRows>(documents, tokens, 16));
  TokenMarks marks;
  marks.add(tokens, 0, false);
  EXPECT_TRUE(Sequences({{{view}, windows}}, Mixture({1})).counts_all());
  EXPECT_FALSE(Sequences({{{view}, rows}}, Mixture({1})).counts_all());
  const RowSource masked{.tokens = view, .mask = TokenMask(marks.counted)};
  EXPECT_FALSE(Sequences({{masked, windows}}, Mixture({1})).counts_all());
  const RowSource separate{.tokens = view, .documents = documents};
  EXPECT_TRUE(Sequences({{separate, windows}}, Mixture({1})).has_begins());
  EXPECT_FALSE(Sequences({{{view}, windows}}, Mixture({1})).has_begins());
}

}  // namespace
}  // namespace cllm::data
