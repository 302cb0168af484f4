#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace cllm {

/// Bytes as people write them: "250 kB", "12 MB", "1.48 GB".
std::string bytes_text(double bytes);

/// Bytes that can be written into the directory; the largest number where nobody can tell.
std::uint64_t free_bytes(const std::filesystem::path& directory);

/// Why a file of so many bytes can't be written into the directory, as far as that can be told
/// before: "only 250 kB are free", or what a quota or a limit on sizes (ulimit -f) leaves. Empty
/// where it can. For a moment the space is taken, where the file system does that without writing.
std::string lack_of_room(const std::filesystem::path& directory, std::uint64_t bytes);

}  // namespace cllm
