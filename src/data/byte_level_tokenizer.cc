#include "byte_level_tokenizer.h"

#include <algorithm>
#include <bitset>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/data/byte_alphabet.h"
#include "tokenizer_json.h"
#include "unicode.h"

namespace cllm::data {
namespace {

/// Word caches that wait for a thread, so that what one call met the next one knows. Thread-safe.
class CachePool {
 public:
  std::unique_ptr<WordCache> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<WordCache>();
    auto cache = std::move(idle_.back());
    idle_.pop_back();
    return cache;
  }
  void give_back(std::unique_ptr<WordCache> cache) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(cache));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> idle_;
};

class ByteLevelTokenizer final : public Tokenizer {
 public:
  ByteLevelTokenizer(BytePairModel model, std::string_view json)
      : Tokenizer(std::move(model.tokens), std::move(model.specials)),
        json_(json),
        bytes_(model.bytes),
        pairs_(model.bytes, model.merges),
        splitter_(model.splitter),
        nfc_(model.nfc) {
    for (const std::uint32_t token : model.words) words_.emplace(token_bytes(token), token);
    for (auto& added : model.added) {
      for (std::size_t at = 1; at < added.content.size(); ++at) {
        if (added.content[at] == ' ' || added.content[at - 1] == '\n') cuts_.push_back({added, at});
      }
      (added.normalized ? added_later_ : added_first_).add(std::move(added));
    }
  }

  std::string kind() const override { return std::string(kByteLevelKind); }
  std::string blob() const override { return json_; }
  bool lossless() const override { return !nfc_; }

  std::string piece(std::uint32_t token) const override {
    const std::string_view bytes = token_bytes(token);
    if (!bytes.empty()) return in_byte_alphabet(bytes);
    const auto found = std::ranges::find(specials(), token, &Specials::value_type::second);
    return found == specials().end() ? "<unused>" : found->first;
  }

  /// Note [Cuts].
  std::size_t chunk_length(std::string_view text) const override {
    if (text.size() <= kChunk) return text.size();
    for (std::size_t at = kChunk; at > 0; --at) {
      if (can_cut_here(text, at)) return at;
    }
    for (std::size_t at = kChunk + 1; at < text.size(); ++at) {
      if (can_cut_here(text, at)) return at;
    }
    return text.size();
  }

 protected:
  void encode_chunk(std::string_view chunk, std::vector<std::uint32_t>& out) const override {
    auto cache = caches_.take();
    while (!chunk.empty()) {
      const std::size_t length = well_formed_length(chunk);
      encode_raw(chunk.substr(0, length), *cache, out);
      chunk.remove_prefix(length);
      if (chunk.empty()) break;
      out.push_back(bytes_[static_cast<unsigned char>(chunk[0])]);  // no UTF-8
      chunk.remove_prefix(1);
    }
    caches_.give_back(std::move(cache));
  }

  /// Nothing without normalisation: every byte is in a word, and a word's tokens are its bytes.
  /// Else what it changes, to the next ASCII characters, with which nothing composes to the right.
  std::size_t count_lost(std::string_view chunk,
                         std::span<const std::uint32_t> tokens) const override {
    if (lossless() || !may_change_in_nfc(chunk) || gives_back(tokens, chunk)) return 0;
    std::size_t lost = 0;
    while (!chunk.empty()) {
      std::size_t length = 1;
      while (length < chunk.size() && static_cast<unsigned char>(chunk[length]) >= 0x80) ++length;
      std::vector<std::uint32_t> some;
      encode_chunk(chunk.substr(0, length), some);
      if (!gives_back(some, chunk.substr(0, length))) lost += length;
      chunk.remove_prefix(length);
    }
    return lost;
  }

 private:
  using Added = BytePairModel::Added;
  struct AddedTokens {
    std::vector<Added> tokens;  // the longest first
    std::bitset<256> starts;    // of their first bytes

    void add(Added added) {
      starts.set(static_cast<unsigned char>(added.content[0]));
      tokens.push_back(std::move(added));
    }
  };
  static constexpr std::size_t kChunk = std::size_t{32} << 10;

  bool can_cut_here(std::string_view text, std::size_t at) const {
    if (!can_cut(text, at)) return false;
    return std::ranges::none_of(cuts_, [&](const auto& cut) {
      const auto& [added, before] = cut;
      return before <= at && text.substr(at - before).starts_with(added.content);
    });
  }

  /// Hands over the added tokens that a text holds, the leftmost first and of these the longest,
  /// and what is between them.
  template <typename Between>
  static void cut_out(const AddedTokens& added, std::string_view text,
                      std::vector<std::uint32_t>& out, const Between& between) {
    std::size_t at = added.tokens.empty() ? text.size() : 0;
    while (at < text.size()) {
      if (!added.starts[static_cast<unsigned char>(text[at])]) {
        ++at;
        continue;
      }
      const auto found = std::ranges::find_if(
          added.tokens, [&](const Added& one) { return text.substr(at).starts_with(one.content); });
      if (found == added.tokens.end()) {
        ++at;
        continue;
      }
      between(text.substr(0, at));
      out.push_back(found->token);
      text.remove_prefix(at + found->content.size());
      at = 0;
    }
    between(text);
  }

  void encode_raw(std::string_view text, WordCache& cache, std::vector<std::uint32_t>& out) const {
    cut_out(added_first_, text, out, [&](std::string_view part) {
      if (nfc_ && may_change_in_nfc(part)) {
        encode_normalized(to_nfc(part), cache, out);
      } else {
        encode_normalized(part, cache, out);
      }
    });
  }

  void encode_normalized(std::string_view text, WordCache& cache,
                         std::vector<std::uint32_t>& out) const {
    const auto encode_word = [&](std::string_view word, std::vector<std::uint32_t>& tokens) {
      if (const auto whole = words_.find(word); whole != words_.end()) {
        tokens.push_back(whole->second);
      } else {
        pairs_.encode(word, tokens);
      }
    };
    cut_out(added_later_, text, out, [&](std::string_view part) {
      splitter_.for_each_word(part,
                              [&](std::string_view word) { cache.encode(word, out, encode_word); });
    });
  }

  std::string json_;
  std::array<std::uint32_t, 256> bytes_;
  BytePairs pairs_;
  WordSplitter splitter_;
  bool nfc_;
  std::unordered_map<std::string_view, std::uint32_t> words_;  // into the tokens' bytes
  AddedTokens added_first_, added_later_;                      // before and after normalisation
  std::vector<std::pair<Added, std::size_t>> cuts_;  // where `can_cut` may be within an added token
  mutable CachePool caches_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_level(std::string_view json, const std::string& name) {
  return std::make_unique<ByteLevelTokenizer>(parse_tokenizer_json(json, name), json);
}

}  // namespace cllm::data
