#pragma once

#include <CLI/CLI.hpp>
#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/plan/figures.h"

namespace cllm::cli {

/// Where a figure comes from.
enum class Origin { kMissing, kAssumed, kMeasured, kGiven };

/// A figure that there is.
struct Figure {
  std::string_view name;  ///< "core-gflops", of the option --core-gflops
  std::string_view help;
  std::optional<double> assumed = {};  ///< where nobody says
};
/// All of them.
inline constexpr std::array kFigures = {
    Figure{.name = "cores", .help = "cores of a host that compute"},
    Figure{.name = "core-gflops",
           .help = "GFLOP/s of the model that a core computes in forward and backward"},
    Figure{.name = "update-gbyte", .help = "GB/s that a host's optimizer reads and writes"},
    Figure{.name = "gbit", .help = "Gbit/s of a host's link, each way"},
    Figure{.name = "latency-us", .help = "microseconds from host to host until a message is there"},
    Figure{
        .name = "message-us", .help = "microseconds of a processor for each message", .assumed = 2},
    Figure{.name = "add-gbyte", .help = "GB/s that a thread adds", .assumed = 10},
    Figure{.name = "copy-gbyte", .help = "GB/s that a thread copies", .assumed = 10},
    Figure{.name = "sum-ns",
           .help = "nanoseconds of a processor that sums take away from computation, for each "
                   "byte that a rank sends [what messages and additions take]"},
    Figure{.name = "disk-gbyte", .help = "GB/s that a checkpoint is written at", .assumed = 1}};

/// What `plan` knows of hosts and network, by the names of its options and in their units, as
/// `doctor --figures` writes it. A figure that comes later replaces the one before.
class FigureTable {
 public:
  FigureTable();

  void set(std::string_view name, double value, Origin origin, const std::string& source = {});
  /// Those of a file that doctor wrote. Throws Error, naming the file.
  void read(const std::filesystem::path& path);

  std::optional<double> value(std::string_view name) const;
  /// The names, and values, of those that come from there: "core-gflops 61.2", …; and of measured
  /// ones the file.
  std::vector<std::string> texts(Origin origin) const;
  /// All that are known, by their names, as JSON.
  std::string json() const;

  /// For a plan of up to so many hosts. Throws Error, naming the option, for one that is missing or
  /// impossible.
  plan::Figures figures(std::size_t hosts) const;

 private:
  struct Value {
    double value = 0;
    Origin origin = Origin::kMissing;
    std::string source = {};  ///< a file
  };
  static std::size_t index_of(std::string_view name);
  double needed(std::string_view name) const;

  std::array<Value, kFigures.size()> values_;
};

/// Declares an option for each figure. Those that are given come into `given`, by their names; it
/// must outlive the app.
void declare_figure_options(CLI::App& app, std::map<std::string, double>& given);

}  // namespace cllm::cli
