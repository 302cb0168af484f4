#include "cllm/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/stopwatch.h"
#include "cllm/io/hdf5.h"
#include "cllm/io/stored_lattice.h"

namespace cllm::io {
namespace {

constexpr const char* kRoot = "/";
constexpr const char* kRun = "/run";
constexpr const char* kConfig = "/run/config";
constexpr const char* kState = "/run/state";
constexpr const char* kTokenizer = "/run/tokenizer";
constexpr const char* kParameters = "/params";
constexpr const char* kAdam = "/adam";
constexpr const char* kFirstMoments = "/adam/m";
constexpr const char* kSecondMoments = "/adam/v";

std::string tensor_path(const char* group, const model::Tensor& tensor) {
  return fmt::format("{}/{}", group, tensor.name);
}

/// (rows, columns) of a matrix, (rows) of a vector.
std::vector<std::uint64_t> shape_of(const model::Tensor& tensor) {
  if (tensor.is_matrix) return {tensor.rows, tensor.columns};
  return {tensor.rows};
}

void check_slab(std::string_view what, std::size_t size, const model::Layout& layout) {
  if (size != layout.slab_size()) {
    fail("the slab for {} has {} floats where the layout has {}; make it by the layout", what, size,
         layout.slab_size());
  }
}

// --- Writing ------------------------------------------------------------------------------------

void write_run_state(Hdf5Writer& file, const RunState& run) {
  file.create_group(kRun);
  const std::pair<const char*, std::uint64_t> integers[] = {
      {"format_version", kFormatVersion},
      {"layers", run.model.layers},
      {"heads", run.model.heads},
      {"channels", run.model.channels},
      {"context", run.model.context},
      {"vocabulary", run.model.vocabulary},
      {"embedding_rank", run.model.embedding_rank},
      {"step", run.step},
      {"tokens_seen", run.tokens_seen},
      {"seed", run.seed}};
  for (const auto& [name, value] : integers) file.write_attribute(kRun, name, value);
  file.write_attribute(kRun, "program_version", run.program_version);
  file.write_attribute(kRun, "tokenizer_kind", run.tokenizer_kind);
  file.write_text(kConfig, run.config);
  file.write_text(kState, run.state);
  file.write_bytes(kTokenizer, run.tokenizer_blob);
  if (run.lattice) write_lattice(file, *run.lattice);
}

void write_slab(Hdf5Writer& file, const char* group, const model::Layout& layout,
                std::span<const float> slab) {
  check_slab(group, slab.size(), layout);
  file.create_group(group);
  for (const model::Tensor& tensor : layout.tensors()) {
    file.write_floats(tensor_path(group, tensor), shape_of(tensor),
                      slab.subspan(tensor.offset, tensor.size()));
  }
}

// --- Reading ------------------------------------------------------------------------------------

model::ModelConfig read_model(const Hdf5Reader& file) {
  const auto integer = [&](const char* name) { return file.integer_attribute(kRun, name); };
  const model::ModelConfig config{
      .layers = integer("layers"),
      .heads = integer("heads"),
      .channels = integer("channels"),
      .context = integer("context"),
      .vocabulary = integer("vocabulary"),
      // Before format 3 every table was dense.
      .embedding_rank = integer("format_version") < 3 ? 0 : integer("embedding_rank")};
  const auto refuse = [&](std::string_view why) {
    fail("{} says that its model has {}, but {}; use another checkpoint", file.path().string(),
         model::shape_text(config), why);
  };
  try {
    model::validate(config);
  } catch (const Error&) {
    refuse("there is no such model");
  }
  // Nobody should make a layout or slabs for a model that cannot be in the file. `validate` keeps
  // the sizes below 2^31, and the table, wpe and c_attn have these many floats at least.
  const std::uint64_t floats = file.file_size() / sizeof(float);
  if (config.layers > file.count(kParameters) ||
      config.table_width() * config.vocabulary > floats ||
      config.channels * std::max(config.context, config.channels) > floats) {
    refuse("the file is too small for it");
  }
  return config;
}

RunState read_run_state(const Hdf5Reader& file) {
  const std::uint64_t version = file.integer_attribute(kRun, "format_version");
  if (version > kFormatVersion) {
    fail(
        "{} has checkpoint format {}, and this program reads up to format {}; use a newer "
        "cllm-dist",
        file.path().string(), version, kFormatVersion);
  }
  if (version == 0) {
    fail("{} has checkpoint format 0, which there never was; use another checkpoint",
         file.path().string());
  }
  RunState run;
  run.model = read_model(file);
  run.step = file.integer_attribute(kRun, "step");
  run.tokens_seen = file.integer_attribute(kRun, "tokens_seen");
  run.seed = file.integer_attribute(kRun, "seed");
  run.program_version = file.text_attribute(kRun, "program_version");
  run.tokenizer_kind = file.text_attribute(kRun, "tokenizer_kind");
  run.config = file.read_text(kConfig);
  run.state = file.read_text(kState);
  run.tokenizer_blob = file.read_bytes(kTokenizer);
  run.lattice = read_lattice(file);
  if (run.lattice && run.lattice->before.rows() != run.model.embedding_rank) {
    fail("{}: its {} has {} vectors, and its model {}; use another checkpoint",
         file.path().string(), kLattice, run.lattice->before.rows(), run.model.embedding_rank);
  }
  return run;
}

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

std::string unexpected_text(const Hdf5Reader& file, const std::string& path) {
  return fmt::format("{} holds {}, which its model does not have; use another checkpoint",
                     file.path().string(), path);
}

/// Throws Error unless attributes and datasets are those that were written. Format 1 can't tell.
void check_contents(const Hdf5Reader& file) {
  std::vector<const char*> groups = {kRun, kParameters, kFirstMoments, kSecondMoments};
  if (has_lattice(file)) groups.push_back(kLattice);
  if (file.integer_attribute(kRun, "format_version") == 1 &&
      !file.has_attribute(kRoot, kDigestAttribute)) {
    return;
  }
  if (file.text_attribute(kRoot, kDigestAttribute) != file.contents_digest(groups)) {
    fail(
        "{} is damaged: its tensors and attributes do not match the digest over them, so some "
        "were exchanged or changed; use another checkpoint",
        file.path().string());
  }
}

void read_slab(const Hdf5Reader& file, const char* group, const model::Layout& layout,
               std::span<float> slab) {
  check_slab(group, slab.size(), layout);
  const std::vector<std::string> unexpected = unexpected_tensors(file, group, layout);
  if (!unexpected.empty()) fail("{}", unexpected_text(file, unexpected.front()));
  for (const model::Tensor& tensor : layout.tensors()) {
    file.read_floats(tensor_path(group, tensor), shape_of(tensor),
                     slab.subspan(tensor.offset, tensor.size()));
  }
}

/// Opens a checkpoint of exactly this model. Not all of a shape can be seen in the tensors: the
/// heads are in none.
Hdf5Reader open_checkpoint(const std::filesystem::path& path, const model::Layout& layout) {
  Hdf5Reader file(path);
  const model::ModelConfig found = read_run_state(file).model;
  if (found != layout.config()) {
    fail(
        "{} is of a model with {}, and this run's has {}; give the same shape, or another "
        "checkpoint",
        path.string(), model::shape_text(found), model::shape_text(layout.config()));
  }
  return file;
}

}  // namespace

double write_checkpoint(const std::filesystem::path& path, const RunState& run,
                        const model::Layout& layout, std::span<const float> parameters,
                        std::span<const float> m, std::span<const float> v) {
  if (run.model != layout.config()) {
    fail(
        "{} is not written: its run has a model of {}, its layout one of {}; give the run's "
        "layout",
        path.string(), model::shape_text(run.model), model::shape_text(layout.config()));
  }
  const auto write = [&](const std::filesystem::path& temporary) {
    Hdf5Writer file(temporary, path);
    write_run_state(file, run);
    write_slab(file, kParameters, layout, parameters);
    file.create_group(kAdam);
    write_slab(file, kFirstMoments, layout, m);
    write_slab(file, kSecondMoments, layout, v);
    file.close();
  };
  double seconds = 0;
  const auto check = [&](const std::filesystem::path& temporary) {
    const Stopwatch clock;
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
    seconds = clock.elapsed();
  };
  write_atomically(path, write, check);
  return seconds;
}

RunState read_run_state(const std::filesystem::path& path) {
  const Hdf5Reader file(path);
  RunState run = read_run_state(file);
  check_contents(file);
  return run;
}

void read_parameters(const std::filesystem::path& path, const model::Layout& layout,
                     std::span<float> parameters) {
  const Hdf5Reader file = open_checkpoint(path, layout);
  read_slab(file, kParameters, layout, parameters);
  check_contents(file);
}

void read_optimizer(const std::filesystem::path& path, const model::Layout& layout,
                    std::span<float> m, std::span<float> v) {
  const Hdf5Reader file = open_checkpoint(path, layout);
  read_slab(file, kFirstMoments, layout, m);
  read_slab(file, kSecondMoments, layout, v);
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
  CheckpointSummary summary{read_run_state(file), {}, {}};
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
