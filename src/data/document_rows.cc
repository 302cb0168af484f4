#include "cllm/data/document_rows.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <type_traits>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"

namespace cllm::data {
namespace {

/// The first bytes of a table; then come two numbers for each row.
struct Header {
  std::array<char, 8> magic = {'C', 'L', 'L', 'M', 'R', 'O', 'W', '\n'};
  std::uint64_t context = 0;
  std::uint64_t tokens = 0;
  PackingFigures figures = {};
  std::array<char, 32> digest{};  ///< XXH3-128 of the rows
};
static_assert(sizeof(Header) == 96 && std::is_trivially_copyable_v<Header>);

std::array<char, 32> digits(const std::string& hex) {
  std::array<char, 32> array{};
  std::copy_n(hex.data(), array.size(), array.data());
  return array;
}

}  // namespace

PackingFigures pack_documents(const Documents& documents, std::uint64_t context,
                              const std::function<void(const Row&)>& sink) {
  const std::uint64_t most = context + 1;
  PackingFigures figures{.documents = documents.size()};
  Row row;
  const auto end_row = [&] {
    if (row.count == 0) return;
    sink(row);
    ++figures.rows;
    figures.padding += most - row.count;
  };
  for (std::uint64_t i = 0; i < documents.size(); ++i) {
    const std::uint64_t start = documents.start(i);
    std::uint64_t length = documents.start(i + 1) - start;
    if (row.count > 0 && row.count + length <= most) {
      row.count += length;
      continue;
    }
    end_row();
    row = {start, length};
    if (length > most) ++figures.long_ones;
    for (; row.count > most; length = row.count) {
      row.count = most;
      end_row();
      ++figures.continued;
      row = {row.first + context, length - context};
    }
  }
  end_row();
  return figures;
}

DocumentRows::DocumentRows(const Documents& documents, std::uint64_t tokens, std::uint64_t context)
    : tokens_(tokens), context_(context) {
  figures_ = pack_documents(documents, context, [&](const Row& row) {
    memory_.push_back(row.first);
    memory_.push_back(row.count);
  });
  rows_ = memory_;
}

DocumentRows::DocumentRows(const std::filesystem::path& path, std::uint64_t tokens,
                           std::uint64_t context, bool reads_all)
    : file_(path), tokens_(tokens), context_(context) {
  Header header;
  const std::span<const std::byte> bytes = file_.bytes();
  const bool is_table = bytes.size() > sizeof(header) &&
                        std::memcmp(bytes.data(), header.magic.data(), header.magic.size()) == 0;
  if (is_table) std::memcpy(&header, bytes.data(), sizeof(header));
  const std::uint64_t room = is_table ? (bytes.size() - sizeof(header)) / 16 : 0;
  if (!is_table || header.context != context || header.tokens != tokens ||
      header.figures.rows != room || (bytes.size() - sizeof(header)) % 16 != 0) {
    fail("{} is no table of rows of these documents; remove it, and it is made anew",
         path.string());
  }
  const std::span<const std::byte> rows = bytes.subspan(sizeof(header));
  if (reads_all && digits(digest_hex(rows)) != header.digest) {
    fail("{} is corrupt: its rows do not have its digest; remove it, and it is made anew",
         path.string());
  }
  const void* const first = rows.data();  // the mapping begins on a page
  rows_ = {static_cast<const std::uint64_t*>(first), rows.size() / 8};
  figures_ = header.figures;
}

void DocumentRows::write(const std::filesystem::path& path, const Documents& documents,
                         std::uint64_t tokens, std::uint64_t context) {
  AtomicFile atomic(path);
  std::ofstream file(atomic.temporary(), std::ios::binary);
  Header header{.context = context, .tokens = tokens};
  Digest digest;
  const auto write = [&](const void* bytes, std::size_t size) {
    file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
    if (!file) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  };
  write(&header, sizeof(header));
  header.figures = pack_documents(documents, context, [&](const Row& row) {
    const std::array<std::uint64_t, 2> numbers = {row.first, row.count};
    digest.update(std::as_bytes(std::span(numbers)));
    write(numbers.data(), sizeof(numbers));
  });
  header.digest = digits(digest.hex());
  file.seekp(0);
  write(&header, sizeof(header));
  file.flush();
  if (!file) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  atomic.sync();
  atomic.commit();
}

Row DocumentRows::operator[](std::uint64_t i) const {
  const Row row{rows_[2 * i], rows_[2 * i + 1]};
  if (row.count < 1 || row.count > context_ + 1 || row.first > tokens_ ||
      row.count > tokens_ - row.first) {
    fail(
        "the table of rows of the documents is damaged: row {} has {} tokens from {} on, of {}; "
        "remove *.rows from the token cache",
        i, row.count, row.first, tokens_);
  }
  return row;
}

}  // namespace cllm::data
