#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "cllm/io/formats/tensor_archive.h"

namespace cllm::io {

// safetensors, the format of Hugging Face's library of that name: u64 length of a JSON header, the
// header, and the tensors' bytes, little-endian and row after row. Files are hostile: the header is
// at most 100 MB, and every offset, shape, overlap and hole is checked. Functions throw Error, one
// sentence that names the file.

/// One file.
TensorArchive read_safetensors(const std::filesystem::path& path);

/// A directory's model.safetensors, or all files that its model.safetensors.index.json names.
TensorArchive read_safetensors_directory(const std::filesystem::path& directory);

/// Writes one file, whole or not at all. Of types there may be kF32, kF16 and kBf16.
void write_safetensors(const std::filesystem::path& path, std::span<const OutgoingTensor> tensors);

/// Writes model.safetensors into the directory; where that has more than `most_bytes` of tensors,
/// model-00001-of-00002.safetensors and so on, each with no more unless one tensor has, and the
/// index. Returns the bytes of all tensors.
std::uint64_t write_safetensors_directory(const std::filesystem::path& directory,
                                          std::span<const OutgoingTensor> tensors,
                                          std::uint64_t most_bytes);

}  // namespace cllm::io
