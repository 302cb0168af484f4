#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cllm::report {

// Pieces of an HTML page. What is called `html` goes in as it is, all other text is escaped.

/// The page around `body_html`: it loads nothing, has light and dark colours, those of the system,
/// and prints.
std::string page(std::string_view title, std::string_view body_html);

/// "<tag class="…">…</tag>"; without a class where that is empty.
std::string element(std::string_view tag, std::string_view css_class, std::string_view html);

/// A number as it is shown, with all of its digits for who reads the page by a program.
std::string exact(double value, std::string_view shown);
/// The same with four decimals.
std::string exact_loss(double value);

struct Cell {
  std::string html;
  bool is_number = false;  ///< stands at the right
};

/// A table that is wider than the page scrolls by itself.
std::string table(const std::vector<Cell>& head, const std::vector<std::vector<Cell>>& rows);

/// A plot with its title and a sentence below, which may be empty; empty where there is no plot.
std::string figure(std::string_view title, std::string_view svg_html, std::string_view note = {});

/// Some figures beside each other; empty where none has anything.
std::string figures(const std::vector<std::string>& all_html);

/// A figure of a run's: what it is and how much.
std::string tile(std::string_view what, std::string_view value_html, std::string_view note = {});

/// What a file that `page` made has near its beginning.
inline constexpr std::string_view kGenerator =
    "<meta name=\"generator\" content=\"cllm-dist report\">";

}  // namespace cllm::report
