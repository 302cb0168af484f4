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

std::string path_of(const char* name) { return fmt::format("{}/{}", kLattice, name); }

void write_matrix(Hdf5Writer& file, const char* name, const lattice::IntegerMatrix& matrix) {
  const std::array<std::uint64_t, 2> shape{matrix.rows(), matrix.columns()};
  file.write_integers(path_of(name), shape, matrix.values());
}

lattice::IntegerMatrix read_matrix(const Hdf5Reader& file, const char* name, std::uint64_t rows,
                                   std::uint64_t columns) {
  std::vector<std::int64_t> values(rows * columns);
  const std::array<std::uint64_t, 2> shape{rows, columns};
  file.read_integers(path_of(name), shape, values);
  return {rows, columns, std::move(values)};
}

double read_number(const Hdf5Reader& file, const char* name) {
  const std::string text = file.text_attribute(kLattice, name);
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) {
    fail("{}: attribute {} of {} is no number; use another checkpoint", file.path().string(), name,
         kLattice);
  }
  return number;
}

}  // namespace

void write_lattice(Hdf5Writer& file, const lattice::Certificate& certificate) {
  file.create_group(kLattice);
  file.write_attribute(kLattice, "vectors", std::uint64_t{certificate.before.rows()});
  file.write_attribute(kLattice, "columns", std::uint64_t{certificate.before.columns()});
  file.write_attribute(kLattice, "delta", fmt::format("{}", certificate.delta));
  file.write_attribute(kLattice, "eta", fmt::format("{}", certificate.eta));
  file.write_attribute(kLattice, "scale", fmt::format("{}", certificate.scale));
  write_matrix(file, "before", certificate.before);
  write_matrix(file, "transform", certificate.transform);
  write_matrix(file, "inverse", certificate.inverse);
  write_matrix(file, "reduced", certificate.reduced);
}

bool has_lattice(const Hdf5Reader& file) {
  const std::vector<std::string> groups = file.names("/");
  return std::ranges::find(groups, std::string_view(kLattice).substr(1)) != groups.end();
}

std::optional<lattice::Certificate> read_lattice(const Hdf5Reader& file) {
  if (!has_lattice(file)) return std::nullopt;
  const std::uint64_t n = file.integer_attribute(kLattice, "vectors");
  const std::uint64_t m = file.integer_attribute(kLattice, "columns");
  const auto refuse = [&](std::string_view why) {
    fail("{}: its {} does not hold: {}; use another checkpoint", file.path().string(), kLattice,
         why);
  };
  // Nothing is allocated that cannot be in the file.
  if (std::max(n, m) > lattice::kMostVectors ||
      n * std::max(n, m) * sizeof(std::int64_t) > file.file_size()) {
    refuse("the file is too small for it");
  }
  const lattice::Certificate certificate{.before = read_matrix(file, "before", n, m),
                                         .transform = read_matrix(file, "transform", n, n),
                                         .inverse = read_matrix(file, "inverse", n, n),
                                         .reduced = read_matrix(file, "reduced", n, m),
                                         .delta = read_number(file, "delta"),
                                         .eta = read_number(file, "eta"),
                                         .scale = read_number(file, "scale")};
  if (const auto fault = lattice::fault(certificate)) refuse(*fault);
  return certificate;
}

}  // namespace cllm::io
