#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "cllm/lattice/certificates/certificate.h"
#include "cllm/model/config.h"
#include "cllm/model/layout.h"
#include "cllm/model/places.h"

namespace cllm::io {

// A checkpoint is one HDF5 file that exists whole or not at all:
//
// clang-format off
//   /params/<tensor>   float32, (rows, columns) of a matrix, (rows) of a vector, named by the layout
//   /<optimizer>/<buffer>/<tensor>   what the optimizer keeps, by the same names and shapes: of all
//                      tensors of a role that are trained, or of none. /adam/m and /adam/v are
//                      AdamW's
//   /run               attributes: format_version, layers, heads, channels, context, vocabulary,
//                      embedding_rank, step, tokens_seen, seed (uint64); program_version,
//                      tokenizer_kind (text); the model's family and parts: config_fields.h;
//                      embedding_bands (text), where it has some;
//                      freeze (text), where not all tensors are trained; lora_rank (uint64),
//                      lora_alpha and lora_targets (text), where it has adapters
// clang-format on
//   /run/config        text: the configuration of the run, TOML
//   /run/state         text: whatever else resuming needs, JSON
//   /run/tokenizer     uint8: the tokenizer's own file
//   /run/token_rows    int64, (V): the row of each token, where the embedding has bands
//   /lattice           where a factorised embedding started: stored_lattice.h; or no such group.
//                      Of bands, a group in it by the number of each
//
// Datasets are contiguous and little-endian, and the attribute xxh3_128 of each is the digest of
// its data; that of the root is the digest over all of these and all attributes. Equal content
// makes equal files. docs/checkpoint_format.md has the details.
//
// What reads, but for `read_state`, also takes a compressed model (compressed_model.h).
//
// All functions throw Error: one sentence that names the file, says what is wrong and what to do.
// One thread at a time may call them; any number of processes may read one file.

/// The version of the format above. Readers refuse later ones. Version 5 is the same without bands
/// of the token embedding. Version 4 is the same without freeze and adapters, so that all tensors
/// are trained. Version 3 is the same without family and parts, which are GPT-2's then, version 2
/// also without embedding rank and lattice, version 1 also without the digest of the root.
inline constexpr std::uint64_t kFormatVersion = 6;

/// All of a run but its tensors.
struct RunState {
  model::ModelConfig model;
  std::uint64_t step = 0;         ///< optimizer steps that were taken
  std::uint64_t tokens_seen = 0;  ///< targets trained on, over all ranks
  std::uint64_t seed = 0;
  std::string config;            ///< TOML: the options as they ran
  std::string state;             ///< JSON: what has no field of its own
  std::string tokenizer_kind;    ///< data::Tokenizer::kind(); empty where there is none
  std::string tokenizer_blob;    ///< bytes that restore the tokenizer
  std::string program_version;   ///< of the program that wrote the checkpoint
  std::string freeze = {};       ///< model::Freeze: of which tensors the optimizer keeps nothing
  std::string compression = {};  ///< JSON: how it was compressed; empty for a checkpoint
  /// Of a token embedding with bands, the row of each token, a permutation (V); else empty.
  std::vector<std::uint32_t> token_rows = {};
  /// The reduced bases in which codes of the token embedding started, by bands; none for others.
  std::map<std::size_t, lattice::Certificate> lattices = {};

  bool operator==(const RunState&) const = default;
};

/// The layout of the run's model as it trains it.
model::Layout layout_of(const RunState& run);

/// A buffer of an optimizer, and the group that has it. A view; `Float` is const where it is
/// written.
template <typename Float>
struct StateGroup {
  std::string name;             ///< "/adam/m": a group in a group of the root
  const model::Places& places;  ///< of the buffer's tensors
  std::span<Float> values;
};

/// The values of a tensor from its element `first` on.
using TakeFloats = std::function<void(std::size_t first, std::span<const float> values)>;

/// Such a buffer for a writer that never sees all of it at once.
struct StateSource {
  std::string name;
  std::function<bool(std::size_t tensor)> has;  ///< by the tensor's index in the layout
  /// Gives all values of a tensor, in their order, in pieces.
  std::function<void(std::size_t tensor, const TakeFloats& take)> give;
};

/// Such a buffer for a reader that never holds all of it at once.
struct StateTarget {
  std::string name;
  std::function<bool(std::size_t tensor)> has;
  /// Takes all values of a tensor, in their order, in pieces of bounded size.
  std::function<void(std::size_t tensor, std::size_t first, std::span<const float> values)> take;
};

/// Writes a checkpoint as an AtomicFile, and reads it again before it takes its name. `parameters`
/// is a flat buffer of `layout`, which is that of the run; what lies between tensors is not
/// stored. Returns the seconds that reading it again took. Throws Error, and leaves what was at
/// `path`, also when a value is not finite: such a checkpoint could not be resumed.
double write_checkpoint(const std::filesystem::path& path, const RunState& run,
                        const model::Layout& layout, std::span<const float> parameters,
                        std::span<const StateSource> state);
/// The same of what this process has.
double write_checkpoint(const std::filesystem::path& path, const RunState& run,
                        const model::Layout& layout, std::span<const float> parameters,
                        std::span<const StateGroup<const float>> state);

/// Everything but the tensors, of which no data are read: that they are in the file, under the
/// digests that they were written with, is checked, and that the lattice's certificate holds. The
/// model's shape makes sense and is not larger than the file, so that `model::Layout` and flat
/// buffers may be made from it.
RunState read_run_state(const std::filesystem::path& path);

/// Fills a flat buffer of `layout` with the parameters; floats between tensors stay as they are.
/// Every digest is checked, every value is finite. Throws Error also when the checkpoint is of
/// another model than the layout, or anything else that it should hold was exchanged; the flat
/// buffer may then hold anything.
void read_parameters(const std::filesystem::path& path, const model::Layout& layout,
                     std::span<float> parameters);

/// The same for what an optimizer keeps; of tensors that the run which wrote the checkpoint didn't
/// train it keeps nothing, and values stay as they are. Throws Error also where a group isn't
/// there. Values are given before their digest is checked.
void read_state(const std::filesystem::path& path, const model::Layout& layout,
                std::span<const StateTarget> state);
/// The same into this process' buffers.
void read_state(const std::filesystem::path& path, const model::Layout& layout,
                std::span<const StateGroup<float>> state);

/// One tensor of a checkpoint, as found.
struct TensorSummary {
  std::string path;                  ///< "/params/wte.weight"
  std::vector<std::uint64_t> shape;  ///< empty where it couldn't be read
  std::string type;                  ///< "float32"
  std::string digest;                ///< as stored; not that of the data when those are damaged
  std::string problem;               ///< a sentence; empty when it is whole
};

/// A checkpoint, after reading all of it.
struct CheckpointSummary {
  RunState run;
  std::vector<TensorSummary> tensors;  ///< expected ones in the layout's order, then unexpected
  std::string problem;  ///< a sentence when every tensor is whole but not those that were written

  bool is_whole() const;
  /// A sentence each: those of tensors, else that of the checkpoint.
  std::vector<std::string> problems() const;
};

/// Reads and checks everything, in a small constant memory beside the tokenizer's, and goes on
/// after a tensor that is not whole. Throws Error when there is no telling what the checkpoint
/// should hold.
CheckpointSummary describe_checkpoint(const std::filesystem::path& path);

}  // namespace cllm::io
