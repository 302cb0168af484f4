#include "cllm/io/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <stdexcept>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "support/scratch_directory.h"

/// TensorBoard's events, read by code that shares nothing with what writes them.
namespace cllm::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

/// Bit by bit, as CRC-32C is defined.
std::uint32_t crc_of(const std::string& bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = crc & 1 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
  }
  return crc ^ 0xFFFFFFFF;
}

template <typename T>
T take(std::string& bytes) {
  T value;
  if (bytes.size() < sizeof(value)) throw std::runtime_error("too short");
  std::memcpy(&value, bytes.data(), sizeof(value));
  bytes.erase(0, sizeof(value));
  return value;
}

std::string take(std::string& bytes, std::size_t count) {
  if (bytes.size() < count) throw std::runtime_error("too short");
  const std::string taken = bytes.substr(0, count);
  bytes.erase(0, count);
  return taken;
}

void check(const std::string& data, std::uint32_t masked) {
  const std::uint32_t crc = crc_of(data);
  if (((crc >> 15 | crc << 17) + 0xA282EAD8) != masked) throw std::runtime_error("wrong check");
}

std::vector<std::string> records(std::string bytes) {
  std::vector<std::string> result;
  while (!bytes.empty()) {
    const std::string length = bytes.substr(0, 8);
    const auto size = take<std::uint64_t>(bytes);
    check(length, take<std::uint32_t>(bytes));
    result.push_back(take(bytes, size));
    check(result.back(), take<std::uint32_t>(bytes));
  }
  return result;
}

std::uint64_t take_varint(std::string& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<std::uint8_t>(bytes);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

/// A message's fields, as bytes in the order of memory; varints are of 8 bytes.
using Message = std::multimap<std::uint64_t, std::string>;

Message message(std::string bytes) {
  Message fields;
  while (!bytes.empty()) {
    const std::uint64_t key = take_varint(bytes);
    std::string value;
    switch (key & 7) {
      case 0: {
        const std::uint64_t number = take_varint(bytes);
        value.assign(reinterpret_cast<const char*>(&number), sizeof(number));
        break;
      }
      case 1:
        value = take(bytes, 8);
        break;
      case 2:
        value = take(bytes, take_varint(bytes));
        break;
      case 5:
        value = take(bytes, 4);
        break;
      default:
        throw std::runtime_error("no such kind of field");
    }
    fields.emplace(key >> 3, value);
  }
  return fields;
}

template <typename T>
T number(const Message& fields, std::uint64_t field) {
  std::string bytes = fields.find(field)->second;
  return take<T>(bytes);
}

std::string text(const Message& fields, std::uint64_t field) { return fields.find(field)->second; }

class EventFileTest : public testing::Test {
 protected:
  std::filesystem::path directory() const { return scratch_.path() / "tensorboard"; }
  std::vector<Message> events() const {
    std::vector<Message> result;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      EXPECT_THAT(entry.path().filename().string(), HasSubstr("events.out.tfevents."));
      for (const std::string& record : records(read_file(entry.path()))) {
        result.push_back(message(record));
      }
    }
    return result;
  }

 private:
  support::ScratchDirectory scratch_;
};

TEST_F(EventFileTest, BeginsWithItsVersionAndTheStepItStartsFrom) {
  { EventFile file(directory(), 300); }
  const std::vector<Message> all = events();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(text(all[0], 3), "brain.Event:2");
  EXPECT_GT(number<double>(all[0], 1), 1.7e9);
  EXPECT_EQ(number<std::uint64_t>(all[1], 2), 300u);
  EXPECT_EQ(number<std::uint64_t>(message(text(all[1], 7)), 1), 1u);  // SessionLog.START
}

TEST_F(EventFileTest, ScalarsAreOfAStep) {
  EventFile file(directory(), 0);
  const std::vector<Scalar> scalars = {{"loss/train", 3.25}, {"norm/gradient", HUGE_VAL}};
  file.scalars(1000, scalars);
  file.scalars(1001, {});
  const std::vector<Message> all = events();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(number<std::uint64_t>(all[2], 2), 1000u);
  std::vector<std::pair<std::string, float>> found;
  const Message summary = message(text(all[2], 5));
  for (const auto& [field, bytes] : summary) {
    EXPECT_EQ(field, 1u);
    const Message value = message(bytes);
    found.emplace_back(text(value, 1), number<float>(value, 2));
  }
  EXPECT_THAT(found, ElementsAre(Pair("loss/train", 3.25f), Pair("norm/gradient", HUGE_VALF)));
}

TEST_F(EventFileTest, TextIsATensorOfStrings) {
  const std::string markdown(300, 'x');  // its length takes two bytes
  EventFile file(directory(), 0);
  file.text(7, "options", markdown);
  const Message value = message(text(message(text(events().back(), 5)), 1));
  EXPECT_EQ(text(value, 1), "options");
  const Message tensor = message(text(value, 8));
  EXPECT_EQ(number<std::uint64_t>(tensor, 1), 7u);
  EXPECT_EQ(number<std::uint64_t>(message(text(message(text(tensor, 2)), 2)), 1), 1u);
  EXPECT_EQ(text(tensor, 8), markdown);
  EXPECT_EQ(text(message(text(message(text(value, 9)), 1)), 1), "text");
}

TEST_F(EventFileTest, EachStartHasAFileOfItsOwn) {
  { EventFile file(directory(), 0); }
  { EventFile file(directory(), 10); }
  EXPECT_EQ(events().size(), 4u);
  // One of a host whose clock is ahead.
  write_atomically(directory() / "events.out.tfevents.4000000000.other.1", {});
  { EventFile file(directory(), 20); }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_EQ(names.size(), 4u);
  EXPECT_THAT(*std::ranges::max_element(names), HasSubstr("events.out.tfevents.4000000001."));
}

TEST_F(EventFileTest, TheReaderSeesASpoiledByte) {
  { EventFile file(directory(), 0); }
  const auto path = std::filesystem::directory_iterator(directory())->path();
  std::string bytes = read_file(path);
  EXPECT_EQ(records(bytes).size(), 2u);
  bytes[20] ^= 1;
  EXPECT_THROW(records(bytes), std::runtime_error);
}

TEST_F(EventFileTest, AFileThatCannotBeIsNamed) {
  std::filesystem::create_directories(directory().parent_path());
  write_atomically(directory(), std::as_bytes(std::span(std::string_view("a file"))));
  EXPECT_THROW(EventFile(directory(), 0), Error);
}

}  // namespace
}  // namespace cllm::io
