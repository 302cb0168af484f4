#include "cllm/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
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

void check_size(std::string_view group, std::size_t size, std::size_t expected) {
  if (size != expected) {
    fail("the buffer for {} has {} floats where the layout has {}; make it by the layout", group,
         size, expected);
  }
}

// --- Writing ------------------------------------------------------------------------------------

StateSource source_of(const StateGroup<const float>& group, const model::Layout& layout) {
  check_size(group.name, group.values.size(), group.places.size());
  return {group.name,
          [places = &group.places](std::size_t tensor) { return (*places)[tensor].has_value(); },
          [&layout, group](std::size_t tensor, const TakeFloats& take) {
            take(0, group.values.subspan(*group.places[tensor], layout[tensor].size()));
          }};
}

void write_group(Hdf5Writer& file, const model::Layout& layout, const StateSource& group) {
  file.create_group(group.name);
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    if (!group.has(i)) continue;
    const auto give = [&](const Hdf5Writer::Put& put) {
      group.give(i,
                 [&](std::size_t, std::span<const float> values) { put(std::as_bytes(values)); });
    };
    file.write_floats(tensor_path(group.name, layout[i]), shape_of(layout[i]), give);
  }
}

/// Writes groups that lie in groups of the root.
void write_state(Hdf5Writer& file, const model::Layout& layout,
                 std::span<const StateSource> state) {
  std::set<std::string> outer;
  for (const StateSource& group : state) {
    const std::string around = group.name.substr(0, group.name.rfind('/'));
    if (outer.insert(around).second) file.create_group(around);
    write_group(file, layout, group);
  }
}

// --- Reading ------------------------------------------------------------------------------------

/// The groups of what an optimizer keeps, whichever it was: those in groups of the root that other
/// things don't have.
std::vector<std::string> state_groups(const Hdf5Reader& file) {
  std::vector<std::string> groups;
  for (const std::string& name : file.names(kRoot)) {
    const std::string around = kRoot + name;
    if (around == kRun || around == kParameters || around == kLattice) continue;
    for (const std::string& inner : file.names(around)) {
      groups.push_back(fmt::format("{}/{}", around, inner));
    }
  }
  return groups;
}

/// The names that a group should have: of all trained tensors of each role that it has one of, as
/// the parameters have of all tensors.
std::vector<const model::Tensor*> expected_tensors(const std::vector<std::string>& names,
                                                   std::string_view group,
                                                   const model::Layout& layout) {
  std::set<model::Role> roles;
  for (const model::Tensor& tensor : layout.tensors()) {
    if (group == kParameters || std::ranges::binary_search(names, tensor.name)) {
      roles.insert(tensor.role);
    }
  }
  std::vector<const model::Tensor*> expected;
  for (const model::Tensor& tensor : layout.tensors()) {
    if (!roles.contains(tensor.role)) continue;
    if (group == kParameters || tensor.is_trained) expected.push_back(&tensor);
  }
  return expected;
}

/// The paths of a group that are none of the expected ones.
std::vector<std::string> unexpected_tensors(const std::vector<std::string>& names,
                                            std::string_view group,
                                            const std::vector<const model::Tensor*>& expected) {
  std::set<std::string_view> known;
  for (const model::Tensor* tensor : expected) known.insert(tensor->name);
  std::vector<std::string> unexpected;
  for (const std::string& name : names) {
    if (!known.contains(name)) unexpected.push_back(fmt::format("{}/{}", group, name));
  }
  return unexpected;
}

/// The group that the certificate of a band lies in.
std::string lattice_group(const model::ModelConfig& model, std::size_t band) {
  return model.has_bands() ? fmt::format("{}/{}", kLattice, band) : kLattice;
}

/// Those that the file has, by bands.
std::map<std::size_t, std::string> lattice_groups(const Hdf5Reader& file,
                                                  const model::ModelConfig& model) {
  std::map<std::size_t, std::string> groups;
  if (!has_lattice(file)) return groups;
  if (!model.has_bands()) return {{0, kLattice}};
  for (const std::string& name : file.names(kLattice)) {
    std::size_t band = 0;
    while (band < model.bands.count && name != fmt::format("{}", band)) ++band;
    if (band == model.bands.count) {
      fail("{} holds {}/{}, and its model has no such band; use another checkpoint",
           file.path().string(), kLattice, name);
    }
    groups.emplace(band, lattice_group(model, band));
  }
  return groups;
}

RunState read_checkpoint_run(const Hdf5Reader& file) {
  RunState run =
      read_run_state(file, kFormatAttribute, kFormatVersion, file.file_size() / sizeof(float));
  const std::vector<model::EmbeddingBand> bands = run.model.table_bands();
  for (const auto& [band, group] : lattice_groups(file, run.model)) {
    const lattice::Certificate& lattice =
        run.lattices.emplace(band, read_lattice(file, group)).first->second;
    const std::size_t rank = run.model.is_factorised() ? bands[band].rank : 0;
    if (lattice.before.rows() != rank) {
      fail("{}: its {} has {} vectors, and its model {}; use another checkpoint",
           file.path().string(), group, lattice.before.rows(), rank);
    }
  }
  return run;
}

std::string unexpected_text(const Hdf5Reader& file, const std::string& path) {
  return fmt::format("{} holds {}, which its model does not have; use another checkpoint",
                     file.path().string(), path);
}

/// Format 1 can't tell.
void check_contents(const Hdf5Reader& file, const model::ModelConfig& model) {
  std::vector<std::string> groups = state_groups(file);
  groups.insert(groups.end(), {kRun, kParameters});
  for (const auto& [band, group] : lattice_groups(file, model)) groups.push_back(group);
  if (file.integer_attribute(kRun, kFormatAttribute) == 1 &&
      !file.has_attribute(kRoot, kDigestAttribute)) {
    return;
  }
  check_contents(file, groups);
}

StateTarget target_of(const StateGroup<float>& group) {
  check_size(group.name, group.values.size(), group.places.size());
  return {group.name,
          [places = &group.places](std::size_t tensor) { return (*places)[tensor].has_value(); },
          [group](std::size_t tensor, std::size_t first, std::span<const float> values) {
            std::ranges::copy(values, group.values.data() + *group.places[tensor] + first);
          }};
}

/// Reads the tensors of the group that are in its buffer and, by `is_there`, in the file.
template <typename IsThere>
void read_group(const Hdf5Reader& file, const model::Layout& layout, const StateTarget& group,
                const IsThere& is_there) {
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    if (!group.has(i) || !is_there(i)) continue;
    std::size_t first = 0;
    file.read_floats(tensor_path(group.name, layout[i]), shape_of(layout[i]),
                     [&](std::span<const float> values) {
                       group.take(i, first, values);
                       first += values.size();
                     });
  }
}

/// Throws Error where the group has a tensor that is none of the expected ones.
void require_known(const Hdf5Reader& file, const std::string& group,
                   const std::vector<const model::Tensor*>& expected) {
  const auto unexpected = unexpected_tensors(file.names(group), group, expected);
  if (!unexpected.empty()) fail("{}", unexpected_text(file, unexpected.front()));
}

RunState read_run_of_either(const Hdf5Reader& file) {
  return is_compressed(file) ? read_compressed_run(file) : read_checkpoint_run(file);
}

/// What a checkpoint, or a compressed model, must be: of exactly this model. Not all of a shape can
/// be seen in the tensors: the heads are in none. Returns its run.
RunState require_same_model(const Hdf5Reader& file, const model::Layout& layout) {
  RunState run = read_run_of_either(file);
  if (run.model != layout.config()) {
    fail(
        "{} is of a model with {}, and this run's has {}; give the same shape, or another "
        "checkpoint",
        file.path().string(), model::shape_text(run.model), model::shape_text(layout.config()));
  }
  return run;
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

model::Layout layout_of(const RunState& run) {
  return model::Layout(run.model, model::Freeze(run.freeze));
}

double write_checkpoint(const std::filesystem::path& path, const RunState& run,
                        const model::Layout& layout, std::span<const float> parameters,
                        std::span<const StateGroup<const float>> state) {
  std::vector<StateSource> sources;
  for (const StateGroup<const float>& group : state) sources.push_back(source_of(group, layout));
  return write_checkpoint(path, run, layout, parameters, sources);
}

double write_checkpoint(const std::filesystem::path& path, const RunState& run,
                        const model::Layout& layout, std::span<const float> parameters,
                        std::span<const StateSource> state) {
  if (run.model != layout.config() || run.freeze != layout.freeze().text()) {
    fail(
        "{} is not written: its run has a model of {}, its layout one of {}; give the run's "
        "layout",
        path.string(), model::shape_text(run.model), model::shape_text(layout.config()));
  }
  if (run.token_rows.size() != (run.model.has_bands() ? run.model.vocabulary : 0)) {
    fail(
        "{} is not written: its run has rows for {} tokens, its embedding of {}; give rows to all "
        "where it has bands, and else to none",
        path.string(), run.token_rows.size(), run.model.vocabulary);
  }
  AtomicFile atomic(path);
  {
    Hdf5Writer file(atomic.temporary(), path);
    write_run_state(file, kFormatAttribute, kFormatVersion, run);
    if (!run.lattices.empty() && run.model.has_bands()) file.create_group(kLattice);
    for (const auto& [band, lattice] : run.lattices) {
      write_lattice(file, lattice_group(run.model, band), lattice);
    }
    const model::Places all(layout);
    write_group(file, layout, source_of({kParameters, all, parameters}, layout));
    write_state(file, layout, state);
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
  is_compressed(file) ? check_compressed_contents(file) : check_contents(file, run.model);
  return run;
}

void read_parameters(const std::filesystem::path& path, const model::Layout& layout,
                     std::span<float> parameters) {
  const Hdf5Reader file(path);
  require_same_model(file, layout);
  const model::Places all(layout);
  if (is_compressed(file)) {
    check_size(kParameters, parameters.size(), all.size());
    return read_compressed_parameters(file, layout, parameters);
  }
  require_known(file, kParameters, expected_tensors({}, kParameters, layout));
  read_group(file, layout, target_of({kParameters, all, parameters}),
             [](std::size_t) { return true; });
  check_contents(file, layout.config());
}

void read_state(const std::filesystem::path& path, const model::Layout& layout,
                std::span<const StateGroup<float>> state) {
  std::vector<StateTarget> targets;
  for (const StateGroup<float>& group : state) targets.push_back(target_of(group));
  read_state(path, layout, targets);
}

void read_state(const std::filesystem::path& path, const model::Layout& layout,
                std::span<const StateTarget> state) {
  const Hdf5Reader file(path);
  const model::Layout written = layout_of(require_same_model(file, layout));
  if (is_compressed(file)) {
    fail(
        "{} is a compressed model, which holds no state of the optimizer; resume from the "
        "checkpoint that it was made of, or begin a new run with --init-from",
        path.string());
  }
  for (const StateTarget& group : state) {
    std::vector<const model::Tensor*> expected;
    for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
      // A tensor that isn't trained now may have been, and be there.
      const bool may_be = group.has(i) || !layout[i].is_trained;
      if (may_be && written[i].is_trained) expected.push_back(&layout[i]);
    }
    require_known(file, group.name, expected);
    read_group(file, layout, group, [&](std::size_t i) { return written[i].is_trained; });
  }
  check_contents(file, layout.config());
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
  const model::Layout layout = layout_of(summary.run);
  std::vector<TensorSummary> unexpected;
  std::vector<std::string> groups = state_groups(file);
  groups.insert(groups.begin(), kParameters);
  for (const std::string& group : groups) {
    const std::vector<std::string> names = file.names(group);
    const auto expected = expected_tensors(names, group, layout);
    for (const model::Tensor* tensor : expected) {
      TensorSummary& entry =
          summary.tensors.emplace_back(TensorSummary{tensor_path(group, *tensor), {}, {}, {}, {}});
      try {
        DatasetInfo info = file.info(entry.path);
        entry.shape = std::move(info.shape);
        entry.type = std::move(info.type);
        entry.digest = std::move(info.digest);
        file.check_floats(entry.path, shape_of(*tensor));
      } catch (const Error& error) {
        entry.problem = error.what();
      }
    }
    for (std::string& extra : unexpected_tensors(names, group, expected)) {
      std::string problem = unexpected_text(file, extra);
      unexpected.push_back({std::move(extra), {}, {}, {}, std::move(problem)});
    }
  }
  std::move(unexpected.begin(), unexpected.end(), std::back_inserter(summary.tensors));
  // A tensor that is not whole has told already; only what nothing else notices is left.
  if (summary.is_whole()) {
    try {
      check_contents(file, summary.run.model);
    } catch (const Error& error) {
      summary.problem = error.what();
    }
  }
  return summary;
}

}  // namespace cllm::io
