#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cllm::report {

// Texts of files, which may hold anything, made fit to be shown.

/// As text of an HTML page, attributes included. What isn't UTF-8, and control characters but for
/// newline and tab, become U+FFFD.
std::string html_text(std::string_view text);

/// As text of a terminal's line: what isn't printable becomes '?', and so does what isn't ASCII
/// where `utf8` is false.
std::string terminal_text(std::string_view text, bool utf8);

/// Columns of a terminal that UTF-8 text takes, if each character takes one.
std::size_t columns_of(std::string_view text);

/// The first `columns` characters, the last an ellipsis ('…', or '~' where the text is ASCII) where
/// there are more.
std::string clipped(std::string_view text, std::size_t columns);

/// A number with its digits in threes, as many of them as `decimals`: "12,345", "0.250".
std::string decimal_text(double value, int decimals);

/// A count with its digits in threes: "12,345".
std::string whole_text(std::uint64_t count);

/// A number of any size: "2.34 M", "12,345", "0.25", "3.2e-05".
std::string number_text(double value);

/// "2026-12-01 10:20 UTC" of seconds since 1970; empty for 0.
std::string time_text(std::int64_t time);

}  // namespace cllm::report
