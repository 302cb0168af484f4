#include "cllm/train/trace.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/processors.h"

namespace cllm::train {
namespace {

std::string label_of(const Recorder::Event& event, const Trainer& trainer) {
  const std::string name(name_of(event.activity));
  if (event.activity == Activity::kBackward) {
    return event.index < 0 ? name + " embeddings" : fmt::format("{} h.{}", name, event.index);
  }
  if (event.activity == Activity::kAllreduce) {
    return fmt::format("{} {}", name, trainer.bucket_name(static_cast<std::size_t>(event.index)));
  }
  return event.index < 0 ? name : fmt::format("{} {}", name, event.index);
}

void append_row(std::string& text, const Recorder& recorder, const Trainer& trainer, int rank,
                std::size_t row, const std::string& name, Recorder::Clock::time_point zero) {
  const auto microseconds = [](Recorder::Clock::duration time) {
    return std::chrono::duration<double, std::micro>(time).count();
  };
  fmt::format_to(std::back_inserter(text),
                 R"(,{{"name":"thread_name","ph":"M","pid":{},"tid":{},"args":{{"name":"{}"}}}})",
                 rank, row, name);
  for (const Recorder::Event& event : recorder.events()) {
    fmt::format_to(std::back_inserter(text),
                   R"(,{{"name":"{}","ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f}}})",
                   label_of(event, trainer), rank, row, microseconds(event.begin - zero),
                   microseconds(event.end - event.begin));
  }
}

void set_tracing(Trainer& trainer, bool on) {
  for (Recorder& recorder : trainer.pool().recorders()) recorder.trace(on);
  trainer.communication_recorder().trace(on);
}

}  // namespace

void Trace::before(std::uint64_t step, Trainer& trainer, ranks::ProcessGroup& process_group) {
  if (step != first_) return;
  // Clocks of hosts differ; that all ranks leave this sum at nearly one moment makes it their zero.
  std::array<std::int64_t, 1> meeting{};
  process_group.all_reduce(meeting);
  zero_ = Recorder::Clock::now();
  set_tracing(trainer, true);
  is_recording_ = true;
}

bool Trace::after(std::uint64_t step, Trainer& trainer, ranks::ProcessGroup& process_group) {
  return step >= last_ && end(trainer, process_group);
}

bool Trace::end(Trainer& trainer, ranks::ProcessGroup& process_group) {
  if (!is_recording_) return false;
  is_recording_ = false;
  set_tracing(trainer, false);
  const std::string mine = events_of(trainer, process_group.rank());
  if (process_group.rank() != 0) {
    process_group.gather(mine, {});
    return false;
  }
  dropped_ = 0;
  for (const Recorder& recorder : trainer.pool().recorders()) dropped_ += recorder.dropped();
  bool is_gathered = false;
  try {
    AtomicFile atomic(file_);
    std::ofstream file(atomic.temporary(), std::ios::binary);
    file << R"({"displayTimeUnit":"ms","traceEvents":[)";
    int last = 0;
    is_gathered = true;
    process_group.gather(mine, [&](int rank, std::string_view piece) {
      if (std::exchange(last, rank) != rank) file << ",\n";
      file << piece;
    });
    file << "]}\n" << std::flush;
    if (!file) fail("cannot write {}: {}", file_.string(), std::strerror(errno));
    atomic.sync();
    atomic.commit();
  } catch (const Error& error) {  // a run is worth more than its trace
    problem_ = error.what();
    if (!is_gathered) process_group.gather(mine, [](int, std::string_view) {});
  }
  return true;
}

std::string Trace::events_of(Trainer& trainer, int rank) const {
  std::string text = fmt::format(
      R"({{"name":"process_name","ph":"M","pid":{},"args":{{"name":"rank {} on {}"}}}})", rank,
      rank, host_name());
  std::size_t row = 0;
  for (const Recorder& recorder : trainer.pool().recorders()) {
    append_row(text, recorder, trainer, rank, row, fmt::format("thread {}", row), zero_);
    ++row;
  }
  append_row(text, trainer.communication_recorder(), trainer, rank, row, "communication", zero_);
  return text;
}

}  // namespace cllm::train
