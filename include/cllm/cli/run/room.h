#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace cllm::cli {

/// What a run will write into its directory.
struct CheckpointPlan {
  std::uint64_t bytes;          ///< of one
  std::uint64_t at_once;        ///< the most that lie there together; 0 where nobody knows
  std::uint64_t are_there = 0;  ///< of those
};

/// How many checkpoints lie in a directory together when `steps` steps are saved every
/// `every` (0: by time) and `keep` are kept (0: all): one more while it is written, and the best.
std::uint64_t most_checkpoints(std::uint64_t steps, std::uint64_t every, std::uint64_t keep);

/// A sentence where the directory has no room for them; empty where it has. Throws the same as
/// Error where not even one fits and the run `must_save`.
std::string room_warning(const std::filesystem::path& directory, const CheckpointPlan& plan,
                         bool must_save);

/// Throws Error, before hours of work, where something exists at `out`, the value of --out, or
/// nothing may be written there.
void require_place(const std::filesystem::path& out);

/// Throws Error where a file of about so many bytes has no room at `out`, the value of --out.
void require_room(const std::filesystem::path& out, std::uint64_t bytes);

}  // namespace cllm::cli
