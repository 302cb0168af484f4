#pragma once

#include <cstdint>
#include <string>

namespace cllm {

// Numbers for people.

/// "3h05m", "4m10s", "12s".
std::string duration_text(double seconds);

/// 12345 as "12,345"; 1234567 as "1.23 M".
std::string count_text(double count);

/// "1.49 GB", "22.6 kB", "17 bytes".
std::string bytes_text(std::uintmax_t bytes);

}  // namespace cllm
