#include "kernels/implementations.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <random>
#include <stdexcept>

namespace cllm::kernels {
namespace {

constexpr std::uint32_t kGuardBits = 0x7fc0dead;
constexpr std::size_t kGuardsBefore = 64;

/// Memory whose last page can't be touched.
class GuardedArray {
 public:
  GuardedArray(const Array& values, std::size_t slack) : size_(values.size()), slack_(slack) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = (kGuardsBefore + size_ + slack) * sizeof(float);
    const std::size_t usable = (bytes + page - 1) / page * page;
    mapped_ = usable + page;
    base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED || mprotect(static_cast<char*>(base_) + usable, page, PROT_NONE) != 0) {
      throw std::runtime_error("no memory for a guarded array");
    }
    first_ = static_cast<float*>(base_);
    end_ = first_ + usable / sizeof(float);
    std::fill(first_, end_, guard());
    std::copy(values.begin(), values.end(), data());
  }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;
  ~GuardedArray() { munmap(base_, mapped_); }

  float* data() const { return end_ - slack_ - size_; }
  Array values() const { return Array(data(), data() + size_); }
  bool intact() const {
    return std::all_of(first_, data(), is_guard) && std::all_of(data() + size_, end_, is_guard);
  }

 private:
  std::size_t size_;
  std::size_t slack_;
  std::size_t mapped_ = 0;
  void* base_ = nullptr;
  float* first_ = nullptr;
  float* end_ = nullptr;
};

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

bool close(float expected, float actual, double tolerance) {
  if (same_bits(expected, actual)) {
    return true;
  }
  if (tolerance < 0) {
    return false;  // an integer's bits may be those of a NaN
  }
  if (is_guard(expected) || is_guard(actual)) {
    return false;
  }
  if (std::isnan(expected) || std::isnan(actual)) {
    return std::isnan(expected) && std::isnan(actual);
  }
  const double error = std::abs(static_cast<double>(expected) - static_cast<double>(actual));
  return tolerance > 0 && error <= tolerance;  // 0 and -0 have other bits
}

}  // namespace

float guard() { return std::bit_cast<float>(kGuardBits); }

bool is_guard(float x) { return std::bit_cast<std::uint32_t>(x) == kGuardBits; }

::testing::AssertionResult run(const Kernels& kernels, const Operation& operation,
                               std::size_t slack, std::vector<Array>* results) {
  std::vector<std::unique_ptr<GuardedArray>> arrays;
  std::vector<float*> pointers;
  for (std::size_t a = 0; a < operation.arrays.size(); ++a) {
    // Each array gets an alignment of its own.
    const std::size_t own_slack = slack == 0 ? 0 : slack + 3 * a % 8;
    arrays.push_back(std::make_unique<GuardedArray>(operation.arrays[a], own_slack));
    pointers.push_back(arrays.back()->data());
  }
  operation.call(kernels, pointers.data());
  results->clear();
  for (std::size_t a = 0; a < arrays.size(); ++a) {
    if (!arrays[a]->intact()) {
      return ::testing::AssertionFailure()
             << kernels.name << " " << operation.name << " wrote outside of array " << a;
    }
    results->push_back(arrays[a]->values());
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult agree(const Kernels& reference, const Kernels& candidate,
                                 const Operation& operation) {
  std::vector<Array> expected;
  std::vector<Array> first;
  if (auto guarded = run(reference, operation, 0, &expected); !guarded) {
    return guarded;
  }
  for (const std::size_t slack : {0U, 1U, 5U}) {
    std::vector<Array> actual;
    if (auto guarded = run(candidate, operation, slack, &actual); !guarded) {
      return guarded;
    }
    for (std::size_t a = 0; a < expected.size(); ++a) {
      const auto& tolerances = operation.tolerances.at(a);
      for (std::size_t i = 0; i < expected[a].size(); ++i) {
        if (!close(expected[a][i], actual[a][i], tolerances.empty() ? -1 : tolerances.at(i))) {
          return ::testing::AssertionFailure()
                 << operation.name << ": array " << a << " of " << expected[a].size()
                 << " elements, element " << i << " is " << expected[a][i] << " by "
                 << reference.name << " but " << actual[a][i] << " by " << candidate.name
                 << ", tolerance " << (tolerances.empty() ? 0 : tolerances[i]);
        }
        if (slack != 0 && !same_bits(first[a][i], actual[a][i])) {
          return ::testing::AssertionFailure()
                 << operation.name << " by " << candidate.name << ": element " << i << " of array "
                 << a << " depends on alignment";
        }
      }
    }
    if (slack == 0) {
      first = actual;
    }
  }
  return ::testing::AssertionSuccess();
}

void expect_implementations_agree(const Operation& operation) {
  Operation exactly = operation;
  for (auto& tolerances : exactly.tolerances) std::ranges::fill(tolerances, 0.0);
  const std::vector<const Kernels*> tables = runnable_kernels();
  for (const Kernels* each : tables) {
    if (!each->has_fixed_order) continue;
    EXPECT_TRUE(agree(reference_kernels(), *each, operation));
    EXPECT_TRUE(agree(*tables.front(), *each, exactly));
  }
}

Array normal_array(std::size_t n, double sigma, std::uint64_t seed) {
  std::mt19937_64 generator(seed * 7919 + n);
  std::normal_distribution<double> normal(0, sigma);
  Array values(n);
  for (float& value : values) {
    value = static_cast<float>(normal(generator));
  }
  return values;
}

std::vector<std::size_t> lengths() {
  std::vector<std::size_t> result;
  for (std::size_t n = 0; n <= 70; ++n) {
    result.push_back(n);
  }
  for (const std::size_t n :
       {127U, 128U, 129U, 256U, 333U, 768U, 1023U, 1024U, 1025U, 3072U, 4099U}) {
    result.push_back(n);
  }
  return result;
}

Array with_padding(const Array& dense, std::size_t rows, std::size_t columns, std::size_t ld) {
  Array padded(rows == 0 ? 0 : (rows - 1) * ld + columns, guard());
  for (std::size_t row = 0; row < rows; ++row) {
    std::copy_n(dense.data() + row * columns, columns, padded.data() + row * ld);
  }
  return padded;
}

std::vector<std::uint32_t> targets_for(std::size_t rows, std::size_t vocabulary) {
  std::vector<std::uint32_t> targets(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    targets[row] = static_cast<std::uint32_t>(row == 0 ? vocabulary - 1 : row * 7919 % vocabulary);
  }
  return targets;
}

}  // namespace cllm::kernels
