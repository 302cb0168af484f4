#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/io/checkpoint.h"
#include "cllm/io/hdf5.h"

namespace cllm::io {

// What checkpoints and compressed models have in common.

inline constexpr const char* kRoot = "/";
inline constexpr const char* kRun = "/run";
inline constexpr const char* kParameters = "/params";
/// Of /run, in checkpoints and in compressed models: which version of which format it is.
inline constexpr const char* kFormatAttribute = "format_version";
inline constexpr const char* kCompressedAttribute = "compressed_version";

std::string tensor_path(std::string_view group, const model::Tensor& tensor);
/// (rows, columns) of a matrix, (rows) of a vector.
std::vector<std::uint64_t> shape_of(const model::Tensor& tensor);

/// Creates /run with all that a run is but its tensors, under `attribute` = `version`.
void write_run_state(Hdf5Writer& file, const char* attribute, std::uint64_t version,
                     const RunState& run);
/// Reads it again. Throws Error where `attribute` is not a version from 1 to `newest`, and where
/// the model makes no sense or has a matrix with more weights than `most_weights`.
RunState read_run_state(const Hdf5Reader& file, const char* attribute, std::uint64_t newest,
                        std::uint64_t most_weights);

/// Throws Error unless the attributes of `groups` and the datasets in them are those that were
/// written.
void check_contents(const Hdf5Reader& file, std::span<const std::string> groups);

/// Reads what was written to `temporary` again before it takes the name `path`. Throws Error that
/// names the latter where it is not whole.
void require_whole(const std::filesystem::path& temporary, const std::filesystem::path& path);

}  // namespace cllm::io
