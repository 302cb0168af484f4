#include "cllm/cli/run/room.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "cllm/base/disk.h"
#include "cllm/base/error.h"

namespace cllm::cli {

std::uint64_t most_checkpoints(std::uint64_t steps, std::uint64_t every, std::uint64_t keep) {
  if (keep == 0 && every == 0) return 0;
  const std::uint64_t all = every == 0 ? keep + 2 : steps / every + 1;
  return keep == 0 ? all : std::min(all, keep + 2);
}

std::string room_warning(const std::filesystem::path& directory, const CheckpointPlan& plan,
                         bool must_save) {
  const auto bytes = static_cast<double>(plan.bytes);
  if (const std::string lack = lack_of_room(directory, plan.bytes); !lack.empty()) {
    const std::string text =
        fmt::format("--out {}: a checkpoint takes {}, and {}; make room, or give another directory",
                    directory.string(), bytes_text(bytes), lack);
    if (must_save) fail("{}", text);
    return text;
  }
  const double more = static_cast<double>(plan.at_once) - static_cast<double>(plan.are_there);
  const auto free = static_cast<double>(free_bytes(directory));
  if (more * bytes <= free) return {};
  return fmt::format(
      "--out {}: {} checkpoints of {} will lie there at a time, and {} are free; give a smaller "
      "--keep, save more rarely with --checkpoint-every, or make room",
      directory.string(), plan.at_once, bytes_text(bytes), bytes_text(free));
}

void require_place(const std::filesystem::path& out) {
  if (std::filesystem::exists(out)) {
    fail("--out {} exists already; remove it or give another name", out.string());
  }
  const std::filesystem::path directory = std::filesystem::absolute(out).parent_path();
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    fail("--out {}: cannot write into {}: {}; give another", out.string(), directory.string(),
         std::generic_category().message(errno));
  }
}

void require_room(const std::filesystem::path& out, std::uint64_t bytes) {
  const std::string lack = lack_of_room(std::filesystem::absolute(out).parent_path(), bytes);
  if (lack.empty()) return;
  fail("--out {}: the file takes about {}, and {}; make room, or give another place", out.string(),
       bytes_text(static_cast<double>(bytes)), lack);
}

}  // namespace cllm::cli
