#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cllm/io/checkpoint.h"
#include "cllm/lattice/weight_lattice.h"

namespace cllm::io {

// A compressed model is one HDF5 file like a checkpoint, with lattice points in place of matrices
// and without the optimizer's state:
//
// clang-format off
//   /params/<vector>        float32, (rows)
//   /codes/<matrix>         uint8: a lattice::CodedMatrix, packed
//   /certificates/<matrix>  uint8: of the reduced bases that the points were found in, by method
//                           "lll" alone: what lattice::encode_certificates makes
//   /run                    as in a checkpoint, but for format_version; compressed_version (uint64)
//                           and method (text)
//   /run/compression        text: how it was made, JSON
// clang-format on
//
// Whatever reads a checkpoint's parameters reads it too: see checkpoint.h.

/// The version of the format above. Readers refuse later ones.
inline constexpr std::uint64_t kCompressedVersion = 1;

/// A matrix has at most so many weights for each byte of the file, so that nobody has to make room
/// for a model that can't be in it.
inline constexpr std::uint64_t kMostWeightsPerByte = 64;

/// What a compressed model has in place of matrices.
struct CompressedMatrices {
  lattice::Method method = lattice::Method::kRounding;
  std::vector<std::string> codes;         ///< by tensor of the layout; empty for vectors
  std::vector<std::string> certificates;  ///< the same; all empty but for kReducedBabai
};

/// Writes a compressed model as an AtomicFile, and reads it again before it takes its
/// name. `run.compression` is what /run/compression holds; of `parameters`, a flat buffer of the
/// layout, the vectors are stored. Throws Error, and leaves what was at `path`.
void write_compressed_model(const std::filesystem::path& path, const RunState& run,
                            const model::Layout& layout, const CompressedMatrices& matrices,
                            std::span<const float> parameters);

}  // namespace cllm::io
