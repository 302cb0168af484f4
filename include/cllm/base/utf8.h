#pragma once

#include <cstddef>
#include <string_view>

namespace cllm {

/// The length in bytes of the well-formed UTF-8 character (Unicode 15.0, table 3-7) that `text`
/// starts with; 0 where it starts with none.
std::size_t utf8_length(std::string_view text);

/// The largest character boundary at or before `position`; `position` itself where the bytes
/// before it are no UTF-8.
std::size_t utf8_boundary(std::string_view text, std::size_t position);

}  // namespace cllm
