#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace cllm {

/// Where the file systems of control groups are, by convention.
inline constexpr const char* kControlGroups = "/sys/fs/cgroup";

/// The contents of this process' /proc/self/cgroup, which names its groups.
std::string my_control_groups();

/// Calls visit(directory, is_version_2) for the group of a process that `controller` ("memory",
/// "cpu") governs, and for each around it, those of Slurm and of containers among them. `mount`:
/// where the file systems are; `groups`: see above.
void visit_control_groups(
    const std::filesystem::path& mount, const std::string& groups, const std::string& controller,
    const std::function<void(const std::filesystem::path& directory, bool is_version_2)>& visit);

/// How many processors' time the groups of a process give it: the least quota of its group or one
/// around it; infinite where there is none.
double processor_quota(const std::filesystem::path& mount, const std::string& groups);

/// The same, of this process.
double processor_quota();

}  // namespace cllm
