#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <vector>

#include "cllm/base/parallel.h"
#include "cllm/base/recorder.h"

namespace cllm {

/// The compute threads of a rank, each with its recorder. One thread at a time may call it.
class ThreadPool {
 public:
  /// `events`: room of each recorder.
  explicit ThreadPool(int threads, std::size_t events = 0) {
    omp_set_dynamic(0);  // as many as asked for, whatever the load
    for (int i = 0; i < threads; ++i) recorders_.emplace_back(events);
  }

  int size() const { return static_cast<int>(recorders_.size()); }
  std::span<Recorder> recorders() { return recorders_; }

  /// work(thread, its recorder) on every thread at once; returns when all are done. See `parallel`.
  template <typename Work>
  void run(const Work& work) {
    parallel(size(),
             [&](int thread) { work(thread, recorders_[static_cast<std::size_t>(thread)]); });
  }

  /// work(i, recorder) for every i below `count`, in contiguous parts.
  template <typename Work>
  void share(std::size_t count, const Work& work) {
    run([&](int thread, Recorder& recorder) {
      const auto part = static_cast<std::size_t>(thread), parts = recorders_.size();
      for (std::size_t i = count * part / parts; i < count * (part + 1) / parts; ++i) {
        work(i, recorder);
      }
    });
  }

  /// work(i, thread) for every i below `count`, each on the thread that is free next: for tasks of
  /// unlike size, whose results must not depend on who does them.
  template <typename Work>
  void deal(std::size_t count, const Work& work) {
    std::atomic<std::size_t> next = 0;
    run([&](int thread, Recorder&) {
      while (true) {
        const std::size_t i = next.fetch_add(1, std::memory_order_relaxed);
        if (i >= count) return;
        work(i, static_cast<std::size_t>(thread));
      }
    });
  }

 private:
  std::vector<Recorder> recorders_;
};

}  // namespace cllm
