#include "cllm/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/io/hdf5.h"

namespace cllm::io {
namespace {

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

bool is_finite(std::span<const float> values) {
  // All ones in the exponent: infinite or NaN. An or over all values, without a branch, keeps up
  // with memory.
  constexpr std::uint32_t kExponent = 0x7f800000;
  bool found = false;
  for (const float value : values) {
    found |= (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent;
  }
  return !found;
}

/// What messages say of a model.
std::string model_text(const model::ModelConfig& config) {
  return fmt::format("{} layers, {} heads, {} channels, context {}, vocabulary {}", config.layers,
                     config.heads, config.channels, config.context, config.vocabulary);
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
  const std::pair<const char*, std::uint64_t> integers[] = {{"format_version", kFormatVersion},
                                                            {"layers", run.model.layers},
                                                            {"heads", run.model.heads},
                                                            {"channels", run.model.channels},
                                                            {"context", run.model.context},
                                                            {"vocabulary", run.model.vocabulary},
                                                            {"step", run.step},
                                                            {"tokens_seen", run.tokens_seen},
                                                            {"seed", run.seed}};
  for (const auto& [name, value] : integers) file.write_attribute(kRun, name, value);
  file.write_attribute(kRun, "program_version", run.program_version);
  file.write_attribute(kRun, "tokenizer_kind", run.tokenizer_kind);
  file.write_text(kConfig, run.config);
  file.write_text(kState, run.state);
  file.write_bytes(kTokenizer, run.tokenizer_blob);
}

void write_slab(Hdf5Writer& file, const std::filesystem::path& path, const char* group,
                const model::Layout& layout, std::span<const float> slab) {
  check_slab(group, slab.size(), layout);
  file.create_group(group);
  for (const model::Tensor& tensor : layout.tensors()) {
    const std::span<const float> values = slab.subspan(tensor.offset, tensor.size());
    if (!is_finite(values)) {
      fail(
          "{} is not written: {} holds values that are not finite; resume from an earlier "
          "checkpoint with a lower --lr",
          path.string(), tensor_path(group, tensor));
    }
    file.write_floats(tensor_path(group, tensor), shape_of(tensor), values);
  }
}

// --- Reading ------------------------------------------------------------------------------------

model::ModelConfig read_model(const Hdf5Reader& file) {
  const model::ModelConfig config{.layers = file.integer_attribute(kRun, "layers"),
                                  .heads = file.integer_attribute(kRun, "heads"),
                                  .channels = file.integer_attribute(kRun, "channels"),
                                  .context = file.integer_attribute(kRun, "context"),
                                  .vocabulary = file.integer_attribute(kRun, "vocabulary")};
  const auto refuse = [&](std::string_view why) {
    fail("{} says that its model has {}, but {}; use another checkpoint", file.path().string(),
         model_text(config), why);
  };
  try {
    model::validate(config);
  } catch (const Error&) {
    refuse("there is no such model");
  }
  // Nobody should make a layout or slabs for a model that cannot be in the file. `validate` keeps
  // the sizes below 2^31, and wte, wpe and c_attn have these many floats at least.
  const std::uint64_t floats = file.file_size() / sizeof(float);
  if (config.layers > file.count(kParameters) ||
      config.channels * std::max({config.vocabulary, config.context, config.channels}) > floats) {
    refuse("the file is too small for it");
  }
  return config;
}

RunState read_run_state(const Hdf5Reader& file) {
  const std::uint64_t version = file.integer_attribute(kRun, "format_version");
  if (version != kFormatVersion) {
    fail(
        "{} has checkpoint format {}, and this program reads format {}; use the cllm-dist that "
        "wrote it",
        file.path().string(), version, kFormatVersion);
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

void read_tensor(const Hdf5Reader& file, const char* group, const model::Tensor& tensor,
                 std::span<float> values) {
  const std::string path = tensor_path(group, tensor);
  file.read_floats(path, shape_of(tensor), values);
  if (!is_finite(values)) {
    fail("{}: {} holds values that are not finite; use an earlier checkpoint", file.path().string(),
         path);
  }
}

void read_slab(const Hdf5Reader& file, const char* group, const model::Layout& layout,
               std::span<float> slab) {
  check_slab(group, slab.size(), layout);
  const std::vector<std::string> unexpected = unexpected_tensors(file, group, layout);
  if (!unexpected.empty()) fail("{}", unexpected_text(file, unexpected.front()));
  for (const model::Tensor& tensor : layout.tensors()) {
    read_tensor(file, group, tensor, slab.subspan(tensor.offset, tensor.size()));
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
        path.string(), model_text(found), model_text(layout.config()));
  }
  return file;
}

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const RunState& run,
                      const model::Layout& layout, std::span<const float> parameters,
                      std::span<const float> m, std::span<const float> v) {
  if (run.model != layout.config()) {
    fail(
        "{} is not written: its run has a model of {}, its layout one of {}; give the run's "
        "layout",
        path.string(), model_text(run.model), model_text(layout.config()));
  }
  write_atomically(path, [&](const std::filesystem::path& temporary) {
    Hdf5Writer file(temporary, path);
    write_run_state(file, run);
    write_slab(file, path, kParameters, layout, parameters);
    file.create_group(kAdam);
    write_slab(file, path, kFirstMoments, layout, m);
    write_slab(file, path, kSecondMoments, layout, v);
    file.close();
  });
}

RunState read_run_state(const std::filesystem::path& path) {
  return read_run_state(Hdf5Reader(path));
}

void read_parameters(const std::filesystem::path& path, const model::Layout& layout,
                     std::span<float> parameters) {
  read_slab(open_checkpoint(path, layout), kParameters, layout, parameters);
}

void read_optimizer(const std::filesystem::path& path, const model::Layout& layout,
                    std::span<float> m, std::span<float> v) {
  const Hdf5Reader file = open_checkpoint(path, layout);
  read_slab(file, kFirstMoments, layout, m);
  read_slab(file, kSecondMoments, layout, v);
}

bool CheckpointSummary::is_whole() const {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const TensorSummary& tensor) { return tensor.problem.empty(); });
}

CheckpointSummary describe_checkpoint(const std::filesystem::path& path) {
  const Hdf5Reader file(path);
  CheckpointSummary summary{read_run_state(file), {}};
  const model::Layout layout(summary.run.model);
  std::vector<float> values;
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
        values.resize(tensor.size());
        read_tensor(file, group, tensor, values);
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
  return summary;
}

std::filesystem::path checkpoint_name(std::uint64_t step) {
  return fmt::format("step-{:08}.h5", step);
}

std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& directory) {
  constexpr std::string_view kPrefix = "step-";
  std::vector<std::pair<std::uint64_t, std::filesystem::path>> found;
  try {
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(kPrefix) || !entry.is_regular_file()) continue;
      std::uint64_t step = 0;
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
      if (name == checkpoint_name(step)) found.emplace_back(step, entry.path());
    }
  } catch (const std::filesystem::filesystem_error& error) {
    fail("cannot look for checkpoints in {}: {}; give a directory that a run wrote into",
         directory.string(), error.code().message());
  }
  std::sort(found.begin(), found.end());
  std::vector<std::filesystem::path> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

std::optional<std::filesystem::path> find_newest_checkpoint(
    const std::filesystem::path& directory) {
  const std::vector<std::filesystem::path> paths = list_checkpoints(directory);
  if (paths.empty()) return std::nullopt;
  // A run that went back to an earlier step leaves files with higher numbers behind.
  if (const std::filesystem::path latest = directory / kLatestName; exists(latest)) {
    std::string name = read_file(latest);
    while (!name.empty() && name.back() == '\n') name.pop_back();
    const auto named = std::ranges::find(paths, directory / name);
    if (named != paths.end()) return *named;
  }
  return paths.back();
}

void set_newest_checkpoint(const std::filesystem::path& checkpoint) {
  const std::string line = checkpoint.filename().string() + "\n";
  write_atomically(checkpoint.parent_path() / kLatestName, std::as_bytes(std::span(line)));
}

}  // namespace cllm::io
