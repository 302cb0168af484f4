#pragma once

#include <fmt/format.h>

#include <chrono>
#include <string>
#include <string_view>

#include "cllm/data/dataset.h"
#include "cllm/data/token_file.h"
#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// Passes messages on, those about how far something is at most once a second.
class Reporter {
 public:
  explicit Reporter(const Progress& progress) : progress_(progress) {}

  void say(const std::string& message) const {
    if (progress_) progress_(message);
  }
  void note(const std::string& what) const { say("note    " + what); }
  /// Says what the tokens of a text don't give back.
  void loss(std::string_view what, std::uint64_t lost, std::uint64_t all) const {
    if (lost > 0) note(fmt::format("{}: {}", what, lost_text(lost, all)));
  }
  void loss(std::string_view what, const TokenFileInfo& info) const {
    loss(what, info.lost_bytes.value_or(0), info.source_bytes);
  }
  void fraction(std::string_view what, std::size_t done, std::size_t all) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::seconds(1)) return;
    last_ = now;
    say(fmt::format("{}: {} %", what, 100 * done / all));
  }

 private:
  const Progress& progress_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace cllm::data
