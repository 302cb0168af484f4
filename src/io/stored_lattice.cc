#include "cllm/io/stored_lattice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <utility>
#include <vector>

#include "cllm/base/error.h"

namespace cllm::io {
namespace {

std::string path_of(const std::string& group, const char* name) {
  return fmt::format("{}/{}", group, name);
}

void write_matrix(Hdf5Writer& file, const std::string& group, const char* name,
                  const lattice::IntegerMatrix& matrix) {
  const std::array<std::uint64_t, 2> shape{matrix.rows(), matrix.columns()};
  file.write_integers(path_of(group, name), shape, matrix.values());
}

lattice::IntegerMatrix read_matrix(const Hdf5Reader& file, const std::string& group,
                                   const char* name, std::uint64_t rows, std::uint64_t columns) {
  std::vector<std::int64_t> values(rows * columns);
  const std::array<std::uint64_t, 2> shape{rows, columns};
  file.read_integers(path_of(group, name), shape, values);
  return {rows, columns, std::move(values)};
}

double read_number(const Hdf5Reader& file, const std::string& group, const char* name) {
  const std::string text = file.text_attribute(group, name);
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) {
    fail("{}: attribute {} of {} is no number; use another checkpoint", file.path().string(), name,
         group);
  }
  return number;
}

}  // namespace

void write_lattice(Hdf5Writer& file, const std::string& group,
                   const lattice::Certificate& certificate) {
  file.create_group(group);
  file.write_attribute(group, "vectors", std::uint64_t{certificate.before.rows()});
  file.write_attribute(group, "columns", std::uint64_t{certificate.before.columns()});
  file.write_attribute(group, "delta", fmt::format("{}", certificate.delta));
  file.write_attribute(group, "eta", fmt::format("{}", certificate.eta));
  file.write_attribute(group, "scale", fmt::format("{}", certificate.scale));
  write_matrix(file, group, "before", certificate.before);
  write_matrix(file, group, "transform", certificate.transform);
  write_matrix(file, group, "inverse", certificate.inverse);
  write_matrix(file, group, "reduced", certificate.reduced);
}

bool has_lattice(const Hdf5Reader& file) {
  const std::vector<std::string> groups = file.names("/");
  return std::ranges::find(groups, std::string_view(kLattice).substr(1)) != groups.end();
}

lattice::Certificate read_lattice(const Hdf5Reader& file, const std::string& group) {
  const std::uint64_t n = file.integer_attribute(group, "vectors");
  const std::uint64_t m = file.integer_attribute(group, "columns");
  const auto refuse = [&](std::string_view why) {
    fail("{}: its {} does not hold: {}; use another checkpoint", file.path().string(), group, why);
  };
  // Nothing is allocated that cannot be in the file.
  if (std::max(n, m) > lattice::kMostVectors ||
      n * std::max(n, m) * sizeof(std::int64_t) > file.file_size()) {
    refuse("the file is too small for it");
  }
  const lattice::Certificate certificate{.before = read_matrix(file, group, "before", n, m),
                                         .transform = read_matrix(file, group, "transform", n, n),
                                         .inverse = read_matrix(file, group, "inverse", n, n),
                                         .reduced = read_matrix(file, group, "reduced", n, m),
                                         .delta = read_number(file, group, "delta"),
                                         .eta = read_number(file, group, "eta"),
                                         .scale = read_number(file, group, "scale")};
  if (const auto fault = lattice::fault(certificate)) refuse(*fault);
  return certificate;
}

}  // namespace cllm::io
