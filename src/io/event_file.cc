#include "cllm/io/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"

namespace cllm::io {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// --- Protocol buffers' wire format: fields in any order, each with its number and kind -----------

enum class Wire : std::uint8_t { kVarint = 0, kEight = 1, kBytes = 2, kFour = 5 };

void put_varint(std::string& message, std::uint64_t n) {
  for (; n >= 0x80; n >>= 7) message += static_cast<char>(n | 0x80);
  message += static_cast<char>(n);
}

void put_key(std::string& message, unsigned field, Wire wire) {
  put_varint(message, field << 3 | static_cast<unsigned>(wire));
}

/// Lowest byte first.
template <typename Integer>
void put_integer(std::string& bytes, Integer n) {
  for (std::size_t i = 0; i < sizeof(n); ++i) bytes += static_cast<char>(n >> 8 * i);
}

void put(std::string& message, unsigned field, std::uint64_t n) {
  put_key(message, field, Wire::kVarint);
  put_varint(message, n);
}
void put(std::string& message, unsigned field, double x) {
  put_key(message, field, Wire::kEight);
  put_integer(message, std::bit_cast<std::uint64_t>(x));
}
void put(std::string& message, unsigned field, float x) {
  put_key(message, field, Wire::kFour);
  put_integer(message, std::bit_cast<std::uint32_t>(x));
}
/// Text, or a message in a message.
void put(std::string& message, unsigned field, std::string_view bytes) {
  put_key(message, field, Wire::kBytes);
  put_varint(message, bytes.size());
  message += bytes;
}

std::string message(unsigned field, auto value) {
  std::string text;
  put(text, field, value);
  return text;
}

// --- Messages, by the numbers of their fields ----------------------------------------------------

/// Event
constexpr unsigned kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
/// SessionLog: its status, of which 1 is START
constexpr unsigned kStatus = 1;
constexpr std::uint64_t kStart = 1;
/// Summary, a list of values; and a value
constexpr unsigned kValue = 1, kTag = 1, kSimpleValue = 2, kTensor = 8, kMetadata = 9;
/// SummaryMetadata and its plugin; TensorProto, of strings, and its shape
constexpr unsigned kPluginData = 1, kPluginName = 1;
constexpr unsigned kType = 1, kShape = 2, kStrings = 8, kDimension = 2, kSize = 1;
constexpr std::uint64_t kStringType = 7;

// --- Records -------------------------------------------------------------------------------------

/// CRC-32C (Castagnoli) of bytes, with bits reversed, as in RFC 3720.
std::uint32_t crc_of(std::string_view bytes) {
  static constexpr auto kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t rest = i;
      for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ (rest % 2 == 1 ? 0x82F63B78u : 0);
      table[i] = rest;
    }
    return table;
  }();
  std::uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc = crc >> 8 ^ kTable[(crc ^ static_cast<std::uint8_t>(c)) & 0xFF];
  }
  return ~crc;
}

/// As TFRecord has it, so that the check of data that holds checks isn't weak.
std::uint32_t masked(std::uint32_t crc) { return std::rotr(crc, 15) + 0xA282EAD8u; }

std::string record(std::string_view data) {
  std::string bytes;
  put_integer(bytes, static_cast<std::uint64_t>(data.size()));
  put_integer(bytes, masked(crc_of(bytes)));
  bytes += data;
  put_integer(bytes, masked(crc_of(data)));
  return bytes;
}

/// Of a name's ten digits.
constexpr std::uint64_t kLastSecond = 9'999'999'999;

/// A name that no other start of the run has, and that comes after those of earlier ones.
std::filesystem::path path_in(const std::filesystem::path& directory) {
  std::error_code code;
  std::filesystem::create_directories(directory, code);
  if (code) fail("cannot create {}: {}", directory.string(), code.message());
  // After all that is there, also where this host's clock is behind that of the one before.
  const std::string begin = "events.out.tfevents.";
  auto second = static_cast<std::uint64_t>(seconds_now());
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(begin)) continue;
    std::uint64_t other = 0;
    std::from_chars(name.data() + begin.size(), name.data() + name.size(), other);
    // A name of somebody else's making may have any number.
    if (other < kLastSecond) second = std::max(second, other + 1);
  }
  return directory / fmt::format("{}{:010}.{}.{}", begin, second, host_name(), ::getpid());
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& directory, std::uint64_t first_step)
    : file_(path_in(directory)) {
  write(0, message(kFileVersion, std::string_view("brain.Event:2")));
  go_back(first_step);
}

void EventFile::write(std::uint64_t step, std::string_view content) {
  std::string event;
  put(event, kWallTime, seconds_now());
  put(event, kStep, step);
  event += content;
  file_.append(record(event));
}

void EventFile::go_back(std::uint64_t first_step) {
  write(first_step, message(kSessionLog, std::string_view(message(kStatus, kStart))));
}

void EventFile::scalars(std::uint64_t step, std::span<const Scalar> scalars) {
  if (scalars.empty()) return;
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    put(value, kTag, scalar.tag);
    put(value, kSimpleValue, static_cast<float>(scalar.value));
    put(summary, kValue, value);
  }
  write(step, message(kSummary, std::string_view(summary)));
}

void EventFile::text(std::uint64_t step, std::string_view tag, std::string_view markdown) {
  const std::string plugin = message(kPluginName, std::string_view("text"));
  const std::string shape = message(kDimension, std::string_view(message(kSize, std::uint64_t{1})));
  std::string tensor;
  put(tensor, kType, kStringType);
  put(tensor, kShape, shape);
  put(tensor, kStrings, markdown);
  std::string value;
  put(value, kTag, tag);
  put(value, kTensor, tensor);
  put(value, kMetadata, message(kPluginData, std::string_view(plugin)));
  write(step, message(kSummary, std::string_view(message(kValue, std::string_view(value)))));
}

}  // namespace cllm::io
