#include "cllm/base/control_group.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

namespace cllm {

namespace fs = std::filesystem;

std::string my_control_groups() {
  std::ifstream file("/proc/self/cgroup");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void visit_control_groups(const fs::path& mount, const std::string& groups,
                          const std::string& controller,
                          const std::function<void(const fs::path&, bool)>& visit) {
  std::istringstream lines(groups);
  for (std::string line; std::getline(lines, line);) {  // number:controllers:/path
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = ',' + line.substr(first + 1, second - first - 1) + ',';
    const bool is_version_2 = controllers == ",,";
    if (!is_version_2 && controllers.find(',' + controller + ',') == controllers.npos) continue;
    const fs::path root = is_version_2 ? mount : mount / controller;
    // In a container, the path may be one that is seen outside alone; the root is then its group.
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path();;
         group = group.parent_path()) {
      visit(root / group, is_version_2);
      if (group.empty()) break;
    }
  }
}

double processor_quota(const fs::path& mount, const std::string& groups) {
  double least = std::numeric_limits<double>::infinity();
  visit_control_groups(mount, groups, "cpu", [&](const fs::path& group, bool is_version_2) {
    double quota = 0, period = 0;
    if (is_version_2) {
      std::ifstream file(group / "cpu.max");  // "max 100000" where there is none
      file >> quota >> period;
    } else {
      std::ifstream quota_file(group / "cpu.cfs_quota_us"),
          period_file(group / "cpu.cfs_period_us");
      quota_file >> quota;  // -1 where there is none
      period_file >> period;
    }
    if (quota > 0 && period > 0) least = std::min(least, quota / period);
  });
  return least;
}

double processor_quota() { return processor_quota(kControlGroups, my_control_groups()); }

}  // namespace cllm
