#include <string>

#include "cllm/base/error.h"
#include "cllm/io/formats/gguf.h"
#include "gguf_types.h"
#include "streamed_file.h"

namespace cllm::io {
namespace {

using namespace gguf;

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_text(std::string& out, std::string_view text) {
  append(out, std::uint64_t{text.size()});
  out += text;
}

}  // namespace

void GgufWriter::begin(std::string_view key, std::uint32_t type) {
  append_text(keys_, key);
  append(keys_, type);
  ++count_;
}

void GgufWriter::begin_list(std::string_view key, std::uint32_t type, std::uint64_t count) {
  begin(key, kList);
  append(keys_, type);
  append(keys_, count);
}

void GgufWriter::add(std::string_view key, std::uint32_t value) {
  begin(key, kU32);
  append(keys_, value);
}

void GgufWriter::add(std::string_view key, float value) {
  begin(key, kF32);
  append(keys_, value);
}

void GgufWriter::add(std::string_view key, bool value) {
  begin(key, kBool);
  append(keys_, static_cast<std::uint8_t>(value));
}

void GgufWriter::add(std::string_view key, std::string_view value) {
  begin(key, kText);
  append_text(keys_, value);
}

void GgufWriter::add(std::string_view key, std::span<const std::string> values) {
  begin_list(key, kText, values.size());
  for (const std::string& value : values) append_text(keys_, value);
}

void GgufWriter::add(std::string_view key, std::span<const float> values) {
  begin_list(key, kF32, values.size());
  for (const float value : values) append(keys_, value);
}

void GgufWriter::add(std::string_view key, std::span<const std::int32_t> values) {
  begin_list(key, kI32, values.size());
  for (const std::int32_t value : values) append(keys_, value);
}

void GgufWriter::write(const std::filesystem::path& path,
                       std::span<const OutgoingTensor> tensors) const {
  std::string header = "GGUF";
  append(header, kVersion);
  append(header, std::uint64_t{tensors.size()});
  append(header, count_);
  header += keys_;
  std::uint64_t offset = 0;
  for (const OutgoingTensor& tensor : tensors) {
    if (tensor.name.size() > kMostName) {
      fail("{}: the tensor {} has a name of more than {} bytes", path.string(), tensor.name,
           kMostName);
    }
    append_text(header, tensor.name);
    append(header, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {
      append(header, *extent);
    }
    append(header, number_of(tensor.type));
    append(header, offset);
    offset += (tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
  StreamedFile file(path);
  file.write(header);
  for (const OutgoingTensor& tensor : tensors) {
    file.pad(kAlignment);
    file.write(tensor);
  }
  file.pad(kAlignment);
  file.commit();
}

}  // namespace cllm::io
