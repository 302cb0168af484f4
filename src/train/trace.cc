#include "cllm/train/trace.h"

#include <fmt/format.h>

#include <array>
#include <iterator>
#include <vector>

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
  for (Recorder& recorder : trainer.crew().recorders()) recorder.trace(on);
  trainer.communication_recorder().trace(on);
}

}  // namespace

void Trace::before(std::uint64_t step, Trainer& trainer, Collective& collective) {
  if (step != first_) return;
  // Clocks of hosts differ; that all ranks leave this sum at nearly one moment makes it their zero.
  std::array<std::int64_t, 1> meeting{};
  collective.sum(meeting);
  zero_ = Recorder::Clock::now();
  set_tracing(trainer, true);
}

bool Trace::after(std::uint64_t step, Trainer& trainer, Collective& collective) {
  if (step != last_ || last_ == 0) return false;
  set_tracing(trainer, false);
  const std::vector<std::string> parts =
      collective.all_gather(events_of(trainer, collective.rank()));
  if (collective.rank() != 0) return false;
  for (const Recorder& recorder : trainer.crew().recorders()) dropped_ += recorder.dropped();
  std::string text = R"({"displayTimeUnit":"ms","traceEvents":[)";
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    text += (rank == 0 ? "" : ",\n") + parts[rank];
  }
  text += "]}\n";
  write_atomically(file_, std::as_bytes(std::span(text)));
  return true;
}

std::string Trace::events_of(Trainer& trainer, int rank) const {
  std::string text = fmt::format(
      R"({{"name":"process_name","ph":"M","pid":{},"args":{{"name":"rank {} on {}"}}}})", rank,
      rank, host_name());
  std::size_t row = 0;
  for (const Recorder& recorder : trainer.crew().recorders()) {
    append_row(text, recorder, trainer, rank, row, fmt::format("thread {}", row), zero_);
    ++row;
  }
  append_row(text, trainer.communication_recorder(), trainer, rank, row, "communication", zero_);
  return text;
}

}  // namespace cllm::train
