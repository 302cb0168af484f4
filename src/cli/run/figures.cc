#include "cllm/cli/run/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/cli/arguments.h"

namespace cllm::cli {
namespace {

/// Above this it isn't what doctor wrote.
constexpr std::uintmax_t kMostBytes = std::uintmax_t{1} << 20;

constexpr double kNano = 1e-9, kMicro = 1e-6, kGiga = 1e9;

}  // namespace

FigureTable::FigureTable() {
  for (std::size_t i = 0; i < kFigures.size(); ++i) {
    if (kFigures[i].assumed) values_[i] = {*kFigures[i].assumed, Origin::kAssumed};
  }
}

std::size_t FigureTable::index_of(std::string_view name) {
  const auto found = std::ranges::find(kFigures, name, &Figure::name);
  if (found == kFigures.end()) fail("there is no figure {}", name);
  return static_cast<std::size_t>(found - kFigures.begin());
}

void FigureTable::set(std::string_view name, double value, Origin origin,
                      const std::string& source) {
  values_[index_of(name)] = {value, origin, source};
}

void FigureTable::read(const std::filesystem::path& path) {
  const auto broken = [&](std::string_view why) {
    fail("{}: {}; give a file that doctor --figures wrote", path.string(), why);
  };
  std::error_code unreadable;
  if (std::filesystem::file_size(path, unreadable) > kMostBytes && !unreadable) {
    broken("is too large for figures");
  }
  const auto all = nlohmann::json::parse(read_file(path), nullptr, false);
  if (!all.is_object() || !all.contains("figures") || !all["figures"].is_object()) {
    broken("has no figures");
  }
  for (const auto& [name, value] : all["figures"].items()) {
    if (std::ranges::find(kFigures, name, &Figure::name) == kFigures.end()) {
      broken(fmt::format("has a figure {:?}, which there isn't", name));
    }
    if (!value.is_number()) broken(fmt::format("{} isn't a number", name));
    set(name, value.get<double>(), Origin::kMeasured, path.string());
  }
}

void declare_figure_options(CLI::App& app, std::map<std::string, double>& given) {
  for (const Figure& figure : kFigures) {
    const std::string usual = figure.assumed ? fmt::format(" [{}]", *figure.assumed) : "";
    add_text_option(
        app, fmt::format("--{}", figure.name),
        [&given, name = std::string(figure.name)](const std::string& text) {
          given[name] = number_format<double>().read(text);
        },
        [] { return std::string(); }, fmt::format("{}{}", figure.help, usual), Blank::kRefused)
        ->type_name("X")
        ->group("Figures");
  }
}

std::optional<double> FigureTable::value(std::string_view name) const {
  const Value& known = values_[index_of(name)];
  if (known.origin == Origin::kMissing) return std::nullopt;
  return known.value;
}

std::vector<std::string> FigureTable::texts(Origin origin) const {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < kFigures.size(); ++i) {
    if (values_[i].origin != origin) continue;
    const std::string from =
        values_[i].source.empty() ? "" : fmt::format(" ({})", values_[i].source);
    texts.push_back(fmt::format("{} {:.4g}{}", kFigures[i].name, values_[i].value, from));
  }
  return texts;
}

std::string FigureTable::json() const {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < kFigures.size(); ++i) {
    if (values_[i].origin != Origin::kMissing)
      all[std::string(kFigures[i].name)] = values_[i].value;
  }
  return all.dump();
}

double FigureTable::needed(std::string_view name) const {
  if (const std::optional<double> known = value(name)) return *known;
  fail("--{} is missing: give it{}, or --figures FILE, which doctor --figures FILE writes", name,
       name == "core-gflops" ? ", --peak-gflops or --sequence-seconds" : "");
}

plan::Figures FigureTable::figures(std::size_t hosts) const {
  const double cores = needed("cores");
  if (cores != std::floor(cores) || std::abs(cores) > 1e6) {
    fail("--cores {:g}: give a whole number", cores);
  }
  plan::Figures figures{.cores = static_cast<int>(cores),
                        .core_flops = kGiga * needed("core-gflops"),
                        .update_bytes = kGiga * needed("update-gbyte"),
                        .disk_bytes = kGiga * needed("disk-gbyte")};
  figures.costs.per_added_byte = kNano / needed("add-gbyte");
  figures.costs.per_copied_byte = kNano / needed("copy-gbyte");
  if (hosts > 1) {
    figures.costs.network = {.latency = kMicro * needed("latency-us"),
                             .per_byte = 8 * kNano / needed("gbit")};
    figures.costs.per_message = kMicro * needed("message-us");
    if (const auto stolen = value("sum-ns")) figures.stolen_per_byte = kNano * *stolen;
  }
  plan::validate(figures, hosts);
  return figures;
}

}  // namespace cllm::cli
