// How fast a checkpoint of GPT-2's 124M model (1.5 GB) is written and verified, beside a plain
// write of as many bytes, in turns:
//
//   checkpoint_bench [DIRECTORY [ROUNDS]]    in the working directory, 3 rounds

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/random.h"
#include "cllm/base/stopwatch.h"
#include "cllm/io/checkpoint.h"
#include "cllm/model/families.h"

namespace cllm::io {
namespace {

constexpr std::size_t kBlock = std::size_t{1} << 20;

model::ModelConfig gpt2() {
  model::ModelConfig config = model::find_preset("gpt2-124m").shape;
  config.vocabulary = 50257;
  return config;
}

/// What `dd bs=1M conv=fsync` does.
void write_plainly(const std::filesystem::path& path, std::span<const float> content,
                   std::size_t size) {
  const auto bytes = std::as_bytes(content);
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  bool good = descriptor >= 0;
  for (std::size_t done = 0; good && done < size; done += kBlock) {
    const std::size_t count = std::min(kBlock, size - done);
    const auto* block = bytes.data() + done % (bytes.size() - kBlock);
    good = ::write(descriptor, block, count) == static_cast<ssize_t>(count);
  }
  good = good && ::fsync(descriptor) == 0;
  ::close(descriptor);
  if (!good) fail("cannot write {}", path.string());
}

/// Does it and returns GB/s.
template <typename Action>
double speed(std::size_t bytes, Action&& action) {
  const Stopwatch watch;
  action();
  return static_cast<double>(bytes) / watch.elapsed() / 1e9;
}

void run(const std::filesystem::path& directory, int rounds) {
  const model::Layout layout(gpt2());
  const model::Places all(layout);
  RunState state;
  state.model = layout.config();
  AlignedBuffer<float> parameters(layout.flat_size()), m(layout.flat_size()), v(layout.flat_size());
  RandomStream random(1, 0);
  for (AlignedBuffer<float>* buffer : {&parameters, &m, &v}) {
    for (float& value : buffer->span()) value = static_cast<float>(random.below(1u << 20));
  }
  const std::filesystem::path path = directory / "checkpoint-bench.h5";
  const std::filesystem::path plain = directory / "checkpoint-bench.plain";
  const auto write = [&] {
    const StateGroup<const float> groups[] = {{"/adam/m", all, m.span()},
                                              {"/adam/v", all, v.span()}};
    write_checkpoint(path, state, layout, parameters.span(), groups);
  };
  write();
  const std::size_t size = std::filesystem::file_size(path);
  fmt::print("{:.2f} GB; GB/s of write, plain write, verify, read\n",
             static_cast<double>(size) / 1e9);
  for (int round = 0; round < rounds; ++round) {
    std::filesystem::remove(path);
    double written = 0, plainly = 0;
    const auto write_now = [&] { written = speed(size, write); };
    const auto write_plainly_now = [&] {
      plainly = speed(size, [&] { write_plainly(plain, parameters.span(), size); });
      std::filesystem::remove(plain);
    };
    // A disk that was just written to is slower, so each goes first in turn, after a rest.
    std::this_thread::sleep_for(std::chrono::seconds(3));
    if (round % 2 == 0) write_now();
    write_plainly_now();
    std::this_thread::sleep_for(std::chrono::seconds(3));
    if (round % 2 == 1) write_now();
    const double verified = speed(size, [&] {
      if (!describe_checkpoint(path).is_whole()) fail("{} is not whole", path.string());
    });
    const double read = speed(size, [&] {
      read_parameters(path, layout, parameters.span());
      const StateGroup<float> groups[] = {{"/adam/m", all, m.span()}, {"/adam/v", all, v.span()}};
      read_state(path, layout, groups);
    });
    fmt::print("{:.2f}  {:.2f}  {:.2f}  {:.2f}\n", written, plainly, verified, read);
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace cllm::io

int main(int count, char** arguments) {
  try {
    cllm::io::run(count > 1 ? arguments[1] : ".", count > 2 ? std::atoi(arguments[2]) : 3);
  } catch (const cllm::Error& error) {
    fmt::print(stderr, "checkpoint_bench: {}\n", error.what());
    return 1;
  }
}
