#include "cllm/io/checkpoint.h"

#include <fmt/format.h>

#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/stopwatch.h"
#include "cllm/io/hdf5.h"
#include "cllm/io/stored_lattice.h"
#include "compressed_reading.h"
#include "run_state.h"

namespace cllm::io {
namespace {

constexpr const char* kAdam = "/adam";
constexpr const char* kFirstMoments = "/adam/m";
constexpr const char* kSecondMoments = "/adam/v";

void check_flat_buffer(std::string_view what, std::size_t size, const model::Layout& layout) {
  if (size != layout.flat_size()) {
    fail("the flat buffer for {} has {} floats where the layout has {}; make it by the layout",
         what, size, layout.flat_size());
  }
}

// --- Writing ------------------------------------------------------------------------------------

void write_flat_buffer(Hdf5Writer& file, const char* group, const model::Layout& layout,
                       std::span<const float> buffer) {
  check_flat_buffer(group, buffer.size(), layout);
  file.create_group(group);
  for (const model::Tensor& tensor : layout.tensors()) {
    file.write_floats(tensor_path(group, tensor), shape_of(tensor),
                      buffer.subspan(tensor.offset, tensor.size()));
  }
}

// --- Reading ------------------------------------------------------------------------------------

/// The paths in `group` that are no tensor of the layout.
std::vector<std::string> unexpected_tensors(const Hdf5Reader& file, const char* group,
                                            const model::Layout& layout) {
  std::set<std::string_view> expected;
  for (const model::Tensor& tensor : layout.tensors()) expected.insert(tensor.name);
  std::vector<std::string> unexpected;
  for (const std::string& name : file.names(group)) {
    if (!expected.contains(name)) unexpected.push_back(fmt::format("{}/{}", group, name));
  }
  return unexpected;
}

RunState read_checkpoint_run(const Hdf5Reader& file) {
  RunState run =
      read_run_state(file, kFormatAttribute, kFormatVersion, file.file_size() / sizeof(float));
  run.lattice = read_lattice(file);
  if (run.lattice && run.lattice->before.rows() != run.model.embedding_rank) {
    fail("{}: its {} has {} vectors, and its model {}; use another checkpoint",
         file.path().string(), kLattice, run.lattice->before.rows(), run.model.embedding_rank);
  }
  return run;
}

std::string unexpected_text(const Hdf5Reader& file, const std::string& path) {
  return fmt::format("{} holds {}, which its model does not have; use another checkpoint",
                     file.path().string(), path);
}

/// Format 1 can't tell.
void check_contents(const Hdf5Reader& file) {
  std::vector<const char*> groups = {kRun, kParameters, kFirstMoments, kSecondMoments};
  if (has_lattice(file)) groups.push_back(kLattice);
  if (file.integer_attribute(kRun, kFormatAttribute) == 1 &&
      !file.has_attribute(kRoot, kDigestAttribute)) {
    return;
  }
  check_contents(file, groups);
}

void read_flat_buffer(const Hdf5Reader& file, const char* group, const model::Layout& layout,
                      std::span<float> buffer) {
  check_flat_buffer(group, buffer.size(), layout);
  const std::vector<std::string> unexpected = unexpected_tensors(file, group, layout);
  if (!unexpected.empty()) fail("{}", unexpected_text(file, unexpected.front()));
  for (const model::Tensor& tensor : layout.tensors()) {
    file.read_floats(tensor_path(group, tensor), shape_of(tensor),
                     buffer.subspan(tensor.offset, tensor.size()));
  }
}

RunState read_run_of_either(const Hdf5Reader& file) {
  return is_compressed(file) ? read_compressed_run(file) : read_checkpoint_run(file);
}

/// Opens a checkpoint, or a compressed model, of exactly this model. Not all of a shape can be seen
/// in the tensors: the heads are in none.
Hdf5Reader open_checkpoint(const std::filesystem::path& path, const model::Layout& layout) {
  Hdf5Reader file(path);
  const model::ModelConfig found = read_run_of_either(file).model;
  if (found != layout.config()) {
    fail(
        "{} is of a model with {}, and this run's has {}; give the same shape, or another "
        "checkpoint",
        path.string(), model::shape_text(found), model::shape_text(layout.config()));
  }
  return file;
}

}  // namespace

void require_whole(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  std::vector<std::string> problems;
  try {
    problems = describe_checkpoint(temporary).problems();
  } catch (const Error& error) {
    problems.emplace_back(error.what());
  }
  if (!problems.empty()) {
    fail("{} is not written: read again, it was not whole ({}); do not trust the disk",
         path.string(), problems.front());
  }
}

double write_checkpoint(const std::filesystem::path& path, const RunState& run,
                        const model::Layout& layout, std::span<const float> parameters,
                        std::span<const float> m, std::span<const float> v) {
  if (run.model != layout.config()) {
    fail(
        "{} is not written: its run has a model of {}, its layout one of {}; give the run's "
        "layout",
        path.string(), model::shape_text(run.model), model::shape_text(layout.config()));
  }
  AtomicFile atomic(path);
  {
    Hdf5Writer file(atomic.temporary(), path);
    write_run_state(file, kFormatAttribute, kFormatVersion, run);
    if (run.lattice) write_lattice(file, *run.lattice);
    write_flat_buffer(file, kParameters, layout, parameters);
    file.create_group(kAdam);
    write_flat_buffer(file, kFirstMoments, layout, m);
    write_flat_buffer(file, kSecondMoments, layout, v);
    file.close();
  }
  atomic.sync();
  const Stopwatch checking;
  require_whole(atomic.temporary(), path);
  const double seconds = checking.elapsed();
  atomic.commit();
  return seconds;
}

RunState read_run_state(const std::filesystem::path& path) {
  const Hdf5Reader file(path);
  RunState run = read_run_of_either(file);
  is_compressed(file) ? check_compressed_contents(file) : check_contents(file);
  return run;
}

void read_parameters(const std::filesystem::path& path, const model::Layout& layout,
                     std::span<float> parameters) {
  const Hdf5Reader file = open_checkpoint(path, layout);
  if (is_compressed(file)) {
    check_flat_buffer(kParameters, parameters.size(), layout);
    return read_compressed_parameters(file, layout, parameters);
  }
  read_flat_buffer(file, kParameters, layout, parameters);
  check_contents(file);
}

void read_optimizer(const std::filesystem::path& path, const model::Layout& layout,
                    std::span<float> m, std::span<float> v) {
  const Hdf5Reader file = open_checkpoint(path, layout);
  if (is_compressed(file)) {
    fail(
        "{} is a compressed model, which holds no state of the optimizer; resume from the "
        "checkpoint that it was made of, or begin a new run with --init-from",
        path.string());
  }
  read_flat_buffer(file, kFirstMoments, layout, m);
  read_flat_buffer(file, kSecondMoments, layout, v);
  check_contents(file);
}

std::vector<std::string> CheckpointSummary::problems() const {
  std::vector<std::string> found;
  for (const TensorSummary& tensor : tensors) {
    if (!tensor.problem.empty()) found.push_back(tensor.problem);
  }
  if (!problem.empty()) found.push_back(problem);
  return found;
}

bool CheckpointSummary::is_whole() const { return problems().empty(); }

CheckpointSummary describe_checkpoint(const std::filesystem::path& path) {
  const Hdf5Reader file(path);
  if (is_compressed(file)) return describe_compressed(file);
  CheckpointSummary summary{read_checkpoint_run(file), {}, {}};
  const model::Layout layout(summary.run.model);
  std::vector<TensorSummary> unexpected;
  for (const char* group : {kParameters, kFirstMoments, kSecondMoments}) {
    for (const model::Tensor& tensor : layout.tensors()) {
      TensorSummary& entry =
          summary.tensors.emplace_back(TensorSummary{tensor_path(group, tensor), {}, {}, {}, {}});
      try {
        DatasetInfo info = file.info(entry.path);
        entry.shape = std::move(info.shape);
        entry.type = std::move(info.type);
        entry.digest = std::move(info.digest);
        file.check_floats(entry.path, shape_of(tensor));
      } catch (const Error& error) {
        entry.problem = error.what();
      }
    }
    for (std::string& extra : unexpected_tensors(file, group, layout)) {
      std::string problem = unexpected_text(file, extra);
      unexpected.push_back({std::move(extra), {}, {}, {}, std::move(problem)});
    }
  }
  std::move(unexpected.begin(), unexpected.end(), std::back_inserter(summary.tensors));
  // A tensor that is not whole has told already; only what nothing else notices is left.
  if (summary.is_whole()) {
    try {
      check_contents(file);
    } catch (const Error& error) {
      summary.problem = error.what();
    }
  }
  return summary;
}

}  // namespace cllm::io
