#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "cllm/base/error.h"

namespace cllm::support {

/// An empty directory that is gone with this object.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cllm-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) fail("cannot make a directory like {}", pattern);
    path_ = pattern;
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace cllm::support
