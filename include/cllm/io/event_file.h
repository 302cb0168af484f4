#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "cllm/base/appended_file.h"

namespace cllm::io {

/// A number of a step under a name, such as "loss/train".
struct Scalar {
  std::string tag;
  double value;
};

/// A file of events that TensorBoard reads: records of TFRecord's form (length, data, and a masked
/// CRC-32C of each) with messages of tensorflow/core/util/event.proto, second version. Each start
/// of a run writes a file of its own into the same directory, which TensorBoard reads in the order
/// of their names, that is, of time. One thread at a time.
class EventFile {
 public:
  /// Makes the file, and the directory where there is none. Events of `first_step` and later that
  /// older files have are void from here on. Throws Error naming the file.
  EventFile(const std::filesystem::path& directory, std::uint64_t first_step);

  /// Numbers are rounded to float. No number at all writes nothing.
  void scalars(std::uint64_t step, std::span<const Scalar> scalars);
  /// Markdown that TensorBoard shows under "Text".
  void text(std::uint64_t step, std::string_view tag, std::string_view markdown);
  /// Events of `first_step` and later are void from here on.
  void go_back(std::uint64_t first_step);

  /// As those of AppendedFile.
  void write_waiting() { file_.write_waiting(); }
  const std::string& problem() const { return file_.problem(); }

 private:
  void write(std::uint64_t step, std::string_view content);

  AppendedFile file_;
};

}  // namespace cllm::io
