#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/model/heads.h"
#include "cllm/model/ops/part.h"

namespace cllm::model {

/// The angles by which rotary positions turn pairs of a head's numbers: position p and pair i by
/// p theta^(-2i/d) (Su et al., arXiv 2104.09864, 3.2.2). Immutable, so thread-safe.
class RotaryAngles {
 public:
  /// For `positions` of heads of `head_size`. Throws std::bad_alloc.
  RotaryAngles(std::size_t positions, std::size_t head_size, double theta);

  const float* cosines(std::size_t position) const { return cosines_.data() + position * pairs_; }
  const float* sines(std::size_t position) const { return sines_.data() + position * pairs_; }

 private:
  std::size_t pairs_;
  AlignedBuffer<float> cosines_, sines_;  // (T, d/2)
};

/// What queries and keys go through before attention: an RMS norm of each head, a rotation by
/// position, or both in this order.
class QueriesKeys final : public Part {
 public:
  struct Normed {
    std::optional<std::size_t> q_gain, k_gain;  ///< tensors (d)
    Buffer q_rstd, k_rstd;                      ///< (rows, H), (rows, K)
    float epsilon;
  };
  struct Buffers {
    Buffer qkv;   ///< as they come: queries, keys and values side by side
    Buffer qk;    ///< queries and keys as they go on; qkv where there is no norm
    Buffer dqkv;  ///< gradients by what goes on, and in its place by what came
  };
  /// `angles`: null where positions are learned.
  QueriesKeys(const Heads& heads, const std::optional<Normed>& norm,
              std::shared_ptr<const RotaryAngles> angles, const Buffers& buffers)
      : heads_(heads), norm_(norm), angles_(std::move(angles)), b_(buffers) {}

  bool completes_gradients() const override { return true; }
  void forward(const Context& context, const Rows& rows) const override;
  void backward(const Context& context, const Rows& rows) const override;
  std::vector<std::size_t> vectors() const override;

 private:
  /// Turns the queries and keys of `count` rows of a buffer, in place.
  void rotate(const Context& context, const View& heads, std::size_t first, std::size_t count,
              float direction) const;

  Heads heads_;
  std::optional<Normed> norm_;
  std::shared_ptr<const RotaryAngles> angles_;
  Buffers b_;
};

}  // namespace cllm::model
