#include "token_survey.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"

namespace cllm::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Bytes of a file that is read in a moment.
constexpr std::int64_t kSmall = std::int64_t{16} << 20;
/// Seconds after which a change shows in a file's times.
constexpr std::time_t kTick = 2;

/// Path, size and times; empty where the file is small or too young.
std::string identity_of(const fs::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0 || status.st_size < kSmall) return {};
  const std::time_t latest = std::max(status.st_mtim.tv_sec, status.st_ctim.tv_sec);
  if (latest > std::time(nullptr) - kTick) return {};
  std::error_code unknown;
  return fmt::format("{} {} {}.{:09} {}.{:09}", fs::canonical(file, unknown).string(),
                     status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                     status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
}

/// What the bytes of a survey depend on.
std::string text_of(const Decoding& decoding) {
  if (decoding.tokenizer == nullptr) return "none";
  return fmt::format("{} {}", decoding.tokenizer->digest(), decoding.cut);
}

}  // namespace

TokenSurvey survey(TokenView tokens, const Decoding& decoding,
                   const std::function<void(std::size_t, std::size_t)>& progress) {
  constexpr std::size_t kBlock = std::size_t{1} << 16;
  std::vector<std::uint32_t> sizes;
  if (decoding.tokenizer != nullptr) {
    for (std::uint32_t token = 0; token < decoding.tokenizer->vocabulary(); ++token) {
      sizes.push_back(static_cast<std::uint32_t>(decoding.tokenizer->token_bytes(token).size()));
    }
  }
  TokenSurvey found;
  Digest digest;
  const auto read = [&](std::size_t first, std::size_t end, std::uint64_t& bytes,
                        std::uint64_t& counted) {
    for (std::size_t at = first; at < end; at += kBlock) {
      const TokenView here = tokens.subview(at, std::min(kBlock, end - at));
      digest.update(here.bytes());
      const std::uint32_t largest = here.largest();
      found.largest = std::max(found.largest, largest);
      if (largest < sizes.size()) {
        here.for_each(0, here.size(), [&](std::size_t i, std::uint32_t token) {
          bytes += sizes[token];
          if (decoding.mask[at + i]) counted += sizes[token];
        });
      }
      if (progress) progress(at + here.size(), tokens.size());
    }
  };
  const std::size_t cut = std::min<std::size_t>(decoding.cut, tokens.size());
  read(0, cut, found.bytes_before, found.counted_before);
  read(cut, tokens.size(), found.bytes_after, found.counted_after);
  found.digest = digest.hex();
  return found;
}

void require_whole(const TokenSurvey& found, const TokenFile& file, const std::string& name) {
  const TokenFileInfo& info = file.info();
  if (!info.token_digest.empty() && found.digest != info.token_digest) {
    fail("{} is corrupt: its tokens do not have the digest of its header", name);
  }
  if (found.largest >= info.vocabulary) file.tokens().require_below(info.vocabulary, name);
  file.require_marks(name);
}

KnownFile::KnownFile(const fs::path& cache, const fs::path& file)
    : identity_(cache.empty() ? "" : identity_of(file)) {
  std::error_code unknown;
  const std::string name = fs::canonical(file, unknown).string();
  path_ = cache / (digest_hex(std::as_bytes(std::span(name))).substr(0, 16) + ".known");
}

std::optional<TokenSurvey> KnownFile::find(const Decoding& decoding) const {
  if (identity_.empty()) return {};
  try {
    const Json json = Json::parse(read_file(path_));
    const bool same = json.at("file") == identity_ &&
                      (decoding.tokenizer == nullptr || json.at("bytes_of") == text_of(decoding));
    if (!same) return {};
    return TokenSurvey{.digest = json.at("digest"),
                       .largest = json.at("largest"),
                       .bytes_before = json.at("bytes_before"),
                       .bytes_after = json.at("bytes_after"),
                       .counted_before = json.value("counted_before", std::uint64_t{0}),
                       .counted_after = json.value("counted_after", std::uint64_t{0})};
  } catch (const std::exception&) {
    return {};  // there is none, or it is damaged; it can be found out again
  }
}

void KnownFile::keep(const TokenSurvey& found, const Decoding& decoding) const {
  if (identity_.empty()) return;
  const std::string text = Json{
      {"file", identity_},
      {"digest", found.digest},
      {"largest", found.largest},
      {"bytes_of", text_of(decoding)},
      {"bytes_before", found.bytes_before},
      {"bytes_after", found.bytes_after},
      {"counted_before", found.counted_before},
      {"counted_after",
       found.counted_after}}.dump(1);
  try {
    make_directories(path_.parent_path());
    write_atomically(path_, std::as_bytes(std::span(text)));
  } catch (const Error&) {  // a cache that can't be written is not needed
  }
}

}  // namespace cllm::data
