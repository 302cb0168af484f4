#include "page.h"

#include <fmt/format.h>

#include "cllm/report/text.h"

namespace cllm::report {
namespace {

// The eight colours differ for people with any kind of colour blindness, by their lightness where
// not by their hue; the later four are also dashed.
constexpr std::string_view kStyle = R"css(
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2126; --soft: #5a6572; --rule: #e2e6ea; --panel: #f6f8fa;
  --c0: #0068a8; --c1: #c04a00; --c2: #007a5a; --c3: #a53f88; --c4: #8a6100; --c5: #2a86ba; --c6: #5b50a6; --c7: #4b5159;
  --other: #c3cad2; --good: #00734f; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --ink: #e6e9ec; --soft: #9ba6b2; --rule: #2c3238; --panel: #1c2024;
  --c0: #55aeea; --c1: #ff8d52; --c2: #3cc9a0; --c3: #e695c9; --c4: #e3b341; --c5: #93d3f7; --c6: #ada2f2; --c7: #b8bfc8;
  --other: #444c55; --good: #4cc79b; --bad: #ff8078;
} }
@media print { :root {
  color-scheme: light;
  --paper: #ffffff; --ink: #000000; --soft: #444444; --rule: #cccccc; --panel: #ffffff;
  --c0: #0068a8; --c1: #c04a00; --c2: #007a5a; --c3: #a53f88; --c4: #8a6100; --c5: #2a86ba; --c6: #5b50a6; --c7: #4b5159;
  --other: #bbbbbb; --good: #00734f; --bad: #b3261e;
} }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 74rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; font-weight: 650; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 3rem 0 1rem; font-size: 1.2rem; font-weight: 650; overflow-wrap: anywhere; }
h3 { margin: 2rem 0 .5rem; font-size: 1rem; font-weight: 600; }
p { margin: .35rem 0; max-width: 46rem; }
.soft, .note { color: var(--soft); }
.note { font-size: .875rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: 1rem 1.5rem; margin: 1.75rem 0 0; }
.tile { border-top: 2px solid var(--rule); padding-top: .5rem; min-width: 0; }
.tile .what, .tile .more { color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.tile .value { font-size: 1.35rem; font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .4rem 1.75rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
td { overflow-wrap: break-word; max-width: 30rem; }
td.name { white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
code, pre { font: .875rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
pre { margin: .25rem 0 1rem; padding: .75rem 1rem; background: var(--panel); border-radius: .4rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.running, .starting { color: var(--c0); } .complete { color: var(--good); } .silent { color: var(--bad); }
.running, .starting, .complete, .silent, .stopped { font-weight: 600; }
.options { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 0 2.5rem; margin: 0; padding: 0; list-style: none; }
.options li { display: flex; justify-content: space-between; gap: 1rem; padding: .25rem 0; border-bottom: 1px solid var(--rule); }
.options code { overflow-wrap: anywhere; min-width: 0; } .options code + code { text-align: right; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .75rem 0; padding: 0; list-style: none; font-size: .9rem; }
.legend li { overflow-wrap: anywhere; }
.key { font-weight: 700; margin-right: .35rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 2rem 2.5rem; margin-top: 1rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figcaption { font-weight: 600; margin-bottom: .35rem; }
figure .note { margin-top: .25rem; }
svg { display: block; width: 100%; height: auto; max-width: 46rem; }
svg text { font-size: 12.5px; fill: var(--ink); }
svg text.soft { fill: var(--soft); }
svg text.label { font-weight: 600; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .axis, svg .tick { stroke: var(--soft); stroke-width: 1; }
svg .mark { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 4; }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; }
svg polyline.faint { stroke-width: 1; opacity: .35; }
svg .dot { stroke: var(--paper); stroke-width: 1; }
svg .area { stroke: var(--paper); stroke-width: .75; opacity: .85; }
polyline.c0 { stroke: var(--c0); } polyline.c1 { stroke: var(--c1); } polyline.c2 { stroke: var(--c2); } polyline.c3 { stroke: var(--c3); }
polyline.c4 { stroke: var(--c4); } polyline.c5 { stroke: var(--c5); } polyline.c6 { stroke: var(--c6); } polyline.c7 { stroke: var(--c7); }
polyline.c4, polyline.c5, polyline.c6, polyline.c7 { stroke-dasharray: 7 4; }
polyline.other { stroke: var(--other); stroke-width: 1; }
svg .c0:not(polyline) { fill: var(--c0); } svg .c1:not(polyline) { fill: var(--c1); } svg .c2:not(polyline) { fill: var(--c2); }
svg .c3:not(polyline) { fill: var(--c3); } svg .c4:not(polyline) { fill: var(--c4); } svg .c5:not(polyline) { fill: var(--c5); }
svg .c6:not(polyline) { fill: var(--c6); } svg .c7:not(polyline) { fill: var(--c7); } svg .other:not(polyline) { fill: var(--other); }
.key.c0 { color: var(--c0); } .key.c1 { color: var(--c1); } .key.c2 { color: var(--c2); } .key.c3 { color: var(--c3); }
.key.c4 { color: var(--c4); } .key.c5 { color: var(--c5); } .key.c6 { color: var(--c6); } .key.c7 { color: var(--c7); }
.axes > input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.axes > label { display: inline-block; padding: .2rem .8rem; margin: 0 .35rem .35rem 0; border: 1px solid var(--rule);
  border-radius: 1rem; font-size: .9rem; color: var(--soft); cursor: pointer; }
.axes > input:checked + label { color: var(--paper); background: var(--ink); border-color: var(--ink); }
.axes > input:focus-visible + label { outline: 2px solid var(--c0); outline-offset: 2px; }
.axes > .by { display: none; }
#by-steps:checked ~ .by-steps, #by-tokens:checked ~ .by-tokens, #by-time:checked ~ .by-time,
#by-node-hours:checked ~ .by-node-hours { display: block; }
details { border-top: 1px solid var(--rule); margin-top: 1.5rem; }
summary { padding: .75rem 0; font-size: 1.1rem; font-weight: 600; cursor: pointer; overflow-wrap: anywhere; }
footer { margin-top: 4rem; color: var(--soft); font-size: .875rem; }
@media (max-width: 40rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h2 { margin-top: 2.25rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile .value { font-size: 1.15rem; }
  svg text { font-size: 17px; }
}
@media print {
  body { padding: 0; max-width: none; font-size: 10pt; }
  .axes > input, .axes > label:not(input:checked + label) { display: none; }
  .axes > input:checked + label { color: var(--ink); background: none; border: 0; padding: 0; }
  .axes > input:checked + label::before { content: "against "; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  th, td { padding: .25rem .75rem .25rem 0; max-width: none; }
  th, td, th.n, td.n { white-space: normal; overflow-wrap: anywhere; }
  .figures { grid-template-columns: 1fr 1fr; gap: 1rem; }
  svg text { font-size: 14px; }
  tr, .tile, figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
)css";

/// What is folded is printed too.
constexpr std::string_view kScript =
    "addEventListener('beforeprint',()=>document.querySelectorAll('details').forEach(d=>d.open="
    "true));";

}  // namespace

std::string page(std::string_view title, std::string_view body_html) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{}\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n"
      "{}<script>{}</script>\n</body>\n</html>\n",
      kGenerator, html_text(title), kStyle, body_html, kScript);
}

std::string element(std::string_view tag, std::string_view css_class, std::string_view html) {
  if (css_class.empty()) return fmt::format("<{0}>{1}</{0}>", tag, html);
  return fmt::format("<{0} class=\"{1}\">{2}</{0}>", tag, css_class, html);
}

std::string exact(double value, std::string_view shown) {
  return fmt::format("<data value=\"{}\">{}</data>", value, html_text(shown));
}

std::string exact_loss(double value) { return exact(value, decimal_text(value, 4)); }

std::string table(const std::vector<Cell>& head, const std::vector<std::vector<Cell>>& rows) {
  const auto row_html = [](std::string_view tag, const std::vector<Cell>& cells) {
    std::string html;
    for (const Cell& cell : cells) html += element(tag, cell.is_number ? "n" : "", cell.html);
    return element("tr", "", html) + '\n';
  };
  std::string html = element("thead", "", row_html("th", head));
  std::string body;
  for (const auto& row : rows) body += row_html("td", row);
  html += element("tbody", "", body);
  return element("div", "scroll", element("table", "", html)) + '\n';
}

std::string figure(std::string_view title, std::string_view svg_html, std::string_view note) {
  if (svg_html.empty()) return {};
  std::string html = element("figcaption", "", html_text(title));
  html += svg_html;
  if (!note.empty()) html += element("p", "note", html_text(note));
  return element("figure", "", html) + '\n';
}

std::string figures(const std::vector<std::string>& all_html) {
  std::string html;
  for (const std::string& each : all_html) html += each;
  return html.empty() ? html : element("div", "figures", html) + '\n';
}

std::string tile(std::string_view what, std::string_view value_html, std::string_view note) {
  return element("div", "tile",
                 element("div", "what", html_text(what)) + element("div", "value", value_html) +
                     (note.empty() ? "" : element("div", "more", html_text(note)))) +
         '\n';
}

}  // namespace cllm::report
