#pragma once

#include <algorithm>
#include <barrier>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "cllm/kernels/blas.h"
#include "cllm/ranks/process_group.h"

namespace cllm::support {

/// Ranks that are threads of one process, so that what several ranks do can be tested without MPI.
/// Each adds the others' values in the order of ranks.
class ThreadRanks {
 public:
  /// `worthwhile_bytes`: as ranks say that they measured it.
  explicit ThreadRanks(int size, std::size_t worthwhile_bytes = 0)
      : worthwhile_bytes_(worthwhile_bytes),
        barrier_(size),
        values_(static_cast<std::size_t>(size)),
        texts_(values_.size()),
        letters_(values_.size() * values_.size()) {}

  /// Runs `work` on every rank at once, and returns when all have ended.
  void run(const std::function<void(ranks::ProcessGroup&)>& work) {
    std::vector<std::thread> threads;
    for (std::size_t rank = 0; rank < values_.size(); ++rank) {
      threads.emplace_back([this, rank, &work] {
        kernels::prepare_blas(1);
        Rank process_group(*this, rank);
        work(process_group);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  /// What one rank has sent another, and that has not received yet.
  struct Letters {
    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<std::byte> bytes;
  };

  class Courier final : public ranks::Courier {
   public:
    Courier(ThreadRanks& all, std::size_t rank) : all_(all), rank_(rank) {}
    void send(int to, std::span<const std::byte> bytes) override {
      Letters& letters = between(rank_, static_cast<std::size_t>(to));
      const std::lock_guard lock(letters.mutex);
      letters.bytes.insert(letters.bytes.end(), bytes.begin(), bytes.end());
      letters.arrived.notify_all();
    }
    void receive(int from, std::span<std::byte> bytes) override {
      Letters& letters = between(static_cast<std::size_t>(from), rank_);
      std::unique_lock lock(letters.mutex);
      letters.arrived.wait(lock, [&] { return letters.bytes.size() >= bytes.size(); });
      const auto end = letters.bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size());
      std::copy(letters.bytes.begin(), end, bytes.begin());
      letters.bytes.erase(letters.bytes.begin(), end);
    }

   private:
    Letters& between(std::size_t from, std::size_t to) {
      return all_.letters_[from * all_.values_.size() + to];
    }

    ThreadRanks& all_;
    std::size_t rank_;
  };

  class Rank final : public ranks::ProcessGroup {
   public:
    Rank(ThreadRanks& all, std::size_t rank) : all_(all), rank_(rank) {
      floats_.reserve(kRoom);
      integers_.reserve(kRoom);
      longs_.reserve(kRoom);
    }
    int rank() const override { return static_cast<int>(rank_); }
    int size() const override { return static_cast<int>(all_.values_.size()); }
    void use(ranks::Allreduce) override {}
    std::size_t worthwhile_bytes() const override { return all_.worthwhile_bytes_; }
    void all_reduce(std::span<float> values) override { add<float, float>(values, floats_); }
    void all_reduce(std::span<std::int32_t> values) override {
      add<std::int32_t, std::uint32_t>(values, integers_);
    }
    void all_reduce(std::span<std::int64_t> values) override {
      add<std::int64_t, std::uint64_t>(values, longs_);
    }
    std::string broadcast(std::string bytes) override { return all_gather(bytes)[0]; }
    std::unique_ptr<ranks::Courier> courier() override {
      return std::make_unique<Courier>(all_, rank_);
    }
    std::vector<std::string> all_gather(const std::string& bytes) override {
      all_.texts_[rank_] = bytes;
      all_.barrier_.arrive_and_wait();
      std::vector<std::string> result = all_.texts_;
      all_.barrier_.arrive_and_wait();
      return result;
    }

    void all_gather(std::span<float> values, std::span<const ranks::Part> parts) override {
      all_.values_[rank_] = values.data();
      all_.barrier_.arrive_and_wait();
      for (std::size_t other = 0; other < parts.size(); ++other) {
        if (other == rank_) continue;
        const auto* from = static_cast<const float*>(all_.values_[other]) + parts[other].offset;
        std::copy_n(from, parts[other].size, values.data() + parts[other].offset);
      }
      all_.barrier_.arrive_and_wait();
    }

   private:
    /// `Sum` is the type whose addition wraps.
    template <typename T, typename Sum>
    void add(std::span<T> values, std::vector<T>& result) {
      all_.values_[rank_] = values.data();
      all_.barrier_.arrive_and_wait();
      result.assign(values.size(), T{});
      for (const void* other : all_.values_) {
        const T* addend = static_cast<const T*>(other);
        for (std::size_t i = 0; i < values.size(); ++i) {
          result[i] = static_cast<T>(static_cast<Sum>(result[i]) + static_cast<Sum>(addend[i]));
        }
      }
      all_.barrier_.arrive_and_wait();
      std::copy(result.begin(), result.end(), values.begin());
    }

    static constexpr std::size_t kRoom = std::size_t{1} << 17;  // so that sums don't allocate

    ThreadRanks& all_;
    std::size_t rank_;
    std::vector<float> floats_;
    std::vector<std::int32_t> integers_;
    std::vector<std::int64_t> longs_;
  };

  const std::size_t worthwhile_bytes_;
  std::barrier<> barrier_;
  std::vector<const void*> values_;
  std::vector<std::string> texts_;
  std::vector<Letters> letters_;  // of each pair
};

}  // namespace cllm::support
