#include "streamed_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "cllm/base/error.h"

namespace cllm::io {
namespace {

/// Bytes that are encoded before they are written.
constexpr std::size_t kAtOnce = std::size_t{1} << 20;

}  // namespace

StreamedFile::StreamedFile(const std::filesystem::path& path)
    : path_(path),
      atomic_(path),
      descriptor_(
          ::open(atomic_.temporary().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail("cannot write {}: {}", path_.string(), std::strerror(errno));
}

StreamedFile::~StreamedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void StreamedFile::write(std::span<const std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot write {}: {}", path_.string(), std::strerror(errno));
    done += static_cast<std::size_t>(put);
  }
  length_ += bytes.size();
}

void StreamedFile::pad(std::size_t alignment) {
  write(std::string((alignment - length_ % alignment) % alignment, '\0'));
}

void StreamedFile::write(const OutgoingTensor& tensor) {
  std::vector<float> row(tensor.columns());
  std::vector<std::byte> encoded;
  const std::size_t row_bytes = bytes_of(tensor.type, row.size());
  for (std::size_t i = 0; i < tensor.rows(); ++i) {
    tensor.fill(i, row);
    const std::size_t before = encoded.size();
    encoded.resize(before + row_bytes);
    if (!encode(tensor.type, row, std::span(encoded).subspan(before))) {
      fail("{}: {} has a weight that {} has no number for; give --type bf16 or f32", path_.string(),
           tensor.name, name_of(tensor.type));
    }
    if (encoded.size() < kAtOnce && i + 1 < tensor.rows()) continue;
    write(encoded);
    encoded.clear();
  }
}

void StreamedFile::commit() {
  // Some file systems tell of a full disk only now, and only here.
  if (::fsync(descriptor_) != 0) {
    fail("cannot write {}: {}", path_.string(), std::strerror(errno));
  }
  atomic_.sync();
  atomic_.commit();
}

}  // namespace cllm::io
