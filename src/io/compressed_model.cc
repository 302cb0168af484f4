#include "cllm/io/compressed_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/lattice/certificates/certificate_code.h"
#include "cllm/lattice/coded_matrix.h"
#include "compressed_reading.h"
#include "run_state.h"

namespace cllm::io {
namespace {

constexpr const char* kCodes = "/codes";
constexpr const char* kCertificates = "/certificates";
constexpr const char* kCompression = "/run/compression";
constexpr const char* kMethod = "method";

/// What is stored of a tensor of the model, and where.
struct Entry {
  std::string path;
  const model::Tensor& tensor;
  enum class Kind { kVector, kPoints, kCertificate } kind;
};

std::vector<Entry> list_entries(const model::Layout& layout, lattice::Method method) {
  std::vector<Entry> entries;
  for (const model::Tensor& tensor : layout.tensors()) {
    if (!tensor.is_matrix()) {
      entries.push_back({tensor_path(kParameters, tensor), tensor, Entry::Kind::kVector});
      continue;
    }
    entries.push_back({tensor_path(kCodes, tensor), tensor, Entry::Kind::kPoints});
    if (method == lattice::Method::kReducedBabai) {
      entries.push_back({tensor_path(kCertificates, tensor), tensor, Entry::Kind::kCertificate});
    }
  }
  return entries;
}

lattice::Method method_of(const Hdf5Reader& file) {
  using enum lattice::Method;
  const std::string name = file.text_attribute(kRun, kMethod);
  for (const lattice::Method method : {kRounding, kBabai, kReducedBabai, kE8}) {
    if (name == lattice::name_of(method)) return method;
  }
  fail("{} was compressed by a method that this program does not know; use a newer cllm-dist",
       file.path().string());
}

/// Reads an entry, and checks all of it. A vector's or matrix' weights go to `weights`.
void read_entry(const Hdf5Reader& file, const Entry& entry, lattice::Method method,
                std::span<float> weights) {
  const model::Tensor& tensor = entry.tensor;
  if (entry.kind == Entry::Kind::kVector) {
    return file.read_floats(entry.path, shape_of(tensor), weights);
  }
  const std::string bytes = file.read_bytes(entry.path);
  try {
    if (entry.kind == Entry::Kind::kPoints) {
      lattice::CodedMatrix::unpack(bytes, tensor.rows, tensor.columns)
          .decode(lattice::kind_of(method), weights);
    } else {
      lattice::check_certificates(bytes, tensor.columns);
    }
  } catch (const Error& error) {
    fail("{} is damaged at {}: {}; use another file", file.path().string(), entry.path,
         error.what());
  }
}

}  // namespace

void write_compressed_model(const std::filesystem::path& path, const RunState& run,
                            const model::Layout& layout, const CompressedMatrices& matrices,
                            std::span<const float> parameters) {
  AtomicFile atomic(path);
  {
    Hdf5Writer file(atomic.temporary(), path);
    write_run_state(file, kCompressedAttribute, kCompressedVersion, run);
    file.write_attribute(kRun, kMethod, lattice::name_of(matrices.method));
    file.write_text(kCompression, run.compression);
    for (const char* group : {kParameters, kCodes, kCertificates}) file.create_group(group);
    const auto tensors = layout.tensors();
    for (const Entry& entry : list_entries(layout, matrices.method)) {
      const auto index = static_cast<std::size_t>(&entry.tensor - tensors.data());
      switch (entry.kind) {
        case Entry::Kind::kVector:
          file.write_floats(entry.path, shape_of(entry.tensor),
                            parameters.subspan(entry.tensor.offset, entry.tensor.size()));
          break;
        case Entry::Kind::kPoints:
          file.write_bytes(entry.path, matrices.codes[index]);
          break;
        case Entry::Kind::kCertificate:
          file.write_bytes(entry.path, matrices.certificates[index]);
          break;
      }
    }
    file.close();
  }
  atomic.sync();
  require_whole(atomic.temporary(), path);
  atomic.commit();
}

bool is_compressed(const Hdf5Reader& file) {
  return file.has_attribute(kRun, kCompressedAttribute);
}

RunState read_compressed_run(const Hdf5Reader& file) {
  RunState run = read_run_state(file, kCompressedAttribute, kCompressedVersion,
                                file.file_size() * kMostWeightsPerByte);
  run.compression = file.read_text(kCompression);
  return run;
}

void read_compressed_parameters(const Hdf5Reader& file, const model::Layout& layout,
                                std::span<float> parameters) {
  const lattice::Method method = method_of(file);
  for (const Entry& entry : list_entries(layout, method)) {
    read_entry(file, entry, method, parameters.subspan(entry.tensor.offset, entry.tensor.size()));
  }
  check_compressed_contents(file);
}

void check_compressed_contents(const Hdf5Reader& file) {
  check_contents(file, std::vector<std::string>{kRun, kParameters, kCodes, kCertificates});
}

CheckpointSummary describe_compressed(const Hdf5Reader& file) {
  CheckpointSummary summary{read_compressed_run(file), {}, {}};
  const model::Layout layout(summary.run.model);
  const lattice::Method method = method_of(file);
  AlignedBuffer<float> weights;
  std::set<std::string> expected;
  for (const Entry& entry : list_entries(layout, method)) {
    expected.insert(entry.path);
    TensorSummary& found = summary.tensors.emplace_back(TensorSummary{entry.path, {}, {}, {}, {}});
    try {
      DatasetInfo info = file.info(entry.path);
      found.shape = std::move(info.shape);
      found.type = std::move(info.type);
      found.digest = std::move(info.digest);
      if (weights.size() < entry.tensor.size()) weights = AlignedBuffer<float>(entry.tensor.size());
      read_entry(file, entry, method, weights.span().first(entry.tensor.size()));
    } catch (const Error& error) {
      found.problem = error.what();
    }
  }
  for (const char* group : {kParameters, kCodes, kCertificates}) {
    for (const std::string& name : file.names(group)) {
      const std::string path = fmt::format("{}/{}", group, name);
      if (expected.contains(path)) continue;
      summary.tensors.push_back({path,
                                 {},
                                 {},
                                 {},
                                 fmt::format("{} holds {}, which its model does not have; use "
                                             "another file",
                                             file.path().string(), path)});
    }
  }
  if (summary.is_whole()) {
    try {
      check_compressed_contents(file);
    } catch (const Error& error) {
      summary.problem = error.what();
    }
  }
  return summary;
}

}  // namespace cllm::io
