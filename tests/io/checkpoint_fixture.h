#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "cllm/io/checkpoint.h"
#include "cllm/lattice/reduce.h"
#include "lattice/examples.h"
#include "support/environment.h"
#include "support/scratch_directory.h"

namespace cllm::io {

inline constexpr model::ModelConfig kSmallModel{
    .layers = 2, .heads = 2, .channels = 6, .context = 5, .vocabulary = 7};

inline constexpr model::ModelConfig kFactorisedModel{
    .layers = 2, .heads = 2, .channels = 6, .context = 5, .vocabulary = 7, .embedding_rank = 3};

/// With adapters, which alone are trained.
inline model::ModelConfig adapted_model() {
  model::ModelConfig config = kSmallModel;
  config.lora = {2, 0.3, model::projections_of("q_proj,up_proj", false)};
  return config;
}

/// Its embedding has a dense band, and one of codes.
inline constexpr model::ModelConfig kBandedModel{.layers = 2,
                                                 .heads = 2,
                                                 .channels = 6,
                                                 .context = 5,
                                                 .vocabulary = 7,
                                                 .bands = {{{{2, 6}, {0, 3}}}, 2}};

/// A lattice for codes of that rank.
inline lattice::Certificate random_lattice(std::size_t rank, std::uint64_t seed) {
  return lattice::reduce(lattice::random_basis(rank, rank, 1000, seed));
}

/// All that a checkpoint holds.
struct Content {
  explicit Content(const model::ModelConfig& config, const std::string& freeze = {})
      : layout(config, model::Freeze(freeze)),
        places(layout, model::every_role),
        parameters(layout.flat_size()),
        m(layout.trained_size()),
        v(layout.trained_size()) {
    run.model = config;
    run.freeze = freeze;
  }

  RunState run;
  model::Layout layout;
  model::Places places;
  AlignedBuffer<float> parameters, m, v;

  void write(const std::filesystem::path& path) const {
    const StateGroup<const float> state[] = {{"/adam/m", places, m.span()},
                                             {"/adam/v", places, v.span()}};
    write_checkpoint(path, run, layout, parameters.span(), state);
  }
  /// Reads what the optimizer keeps.
  void read_state(const std::filesystem::path& path) {
    const StateGroup<float> state[] = {{"/adam/m", places, m.span()},
                                       {"/adam/v", places, v.span()}};
    io::read_state(path, layout, state);
  }
};

/// Any finite float: also subnormal, -0, and the largest.
inline float random_finite(RandomStream& random) {
  for (;;) {
    const float value = std::bit_cast<float>(random.next_u32());
    if (std::isfinite(value)) return value;
  }
}

inline std::string random_bytes(RandomStream& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.below(256));
  return bytes;
}

/// Content of random bits everywhere, but zeros between the tensors; a factorised embedding has a
/// lattice.
inline Content random_content(const model::ModelConfig& config, std::uint64_t seed,
                              const std::string& freeze = {}) {
  Content content(config, freeze);
  RandomStream random(seed, 0);
  content.run.step = random.next_u64();
  content.run.tokens_seen = random.next_u64();
  content.run.seed = random.next_u64();
  content.run.config = "seed = 1\n# Grüße, 世界\n";
  content.run.state = R"({"scale": [1, 2], "note": "−"})";
  content.run.tokenizer_kind = "bpe";
  content.run.tokenizer_blob = random_bytes(random, random.below(3000));
  content.run.program_version = "0.1.0";
  const std::vector<model::EmbeddingBand> bands = config.table_bands();
  for (std::size_t band = 0; band < bands.size(); ++band) {
    if (config.embedding_rank == 0 && bands[band].rank == config.channels) continue;
    content.run.lattices.emplace(band, random_lattice(bands[band].rank, seed + band));
  }
  if (config.has_bands()) {
    // Any permutation but the identity.
    for (std::size_t token = 0; token < config.vocabulary; ++token) {
      content.run.token_rows.push_back(
          static_cast<std::uint32_t>((token + seed % 3 + 1) % config.vocabulary));
    }
  }
  for (AlignedBuffer<float>* buffer : {&content.parameters, &content.m, &content.v}) {
    for (const model::Tensor& tensor : content.layout.tensors()) {
      if (buffer != &content.parameters && !tensor.is_trained) continue;
      for (std::size_t i = 0; i < tensor.size(); ++i) {
        (*buffer)[tensor.offset + i] = random_finite(random);
      }
    }
  }
  return content;
}

/// The bits of a flat buffer; floats compare wrongly (-0 == 0).
inline std::vector<std::uint32_t> bits(const AlignedBuffer<float>& buffer) {
  std::vector<std::uint32_t> result;
  for (const float value : buffer.span()) result.push_back(std::bit_cast<std::uint32_t>(value));
  return result;
}

/// Reads what `write` wrote, into flat buffers of zeros.
inline Content read_all(const std::filesystem::path& path, const model::ModelConfig& config) {
  Content content(config);
  content.run = read_run_state(path);
  read_parameters(path, content.layout, content.parameters.span());
  content.read_state(path);
  return content;
}

inline bool same_bits(const Content& a, const Content& b) {
  return a.run == b.run && bits(a.parameters) == bits(b.parameters) && bits(a.m) == bits(b.m) &&
         bits(a.v) == bits(b.v);
}

/// The message of the Error that `action` must throw: one line, which names `path`.
template <typename Action>
std::string error_of(const std::filesystem::path& path, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_THAT(message, testing::HasSubstr(path.string()));
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
  ADD_FAILURE() << "no error for " << path;
  return {};
}

/// Descriptors that this process has open.
inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

}  // namespace cllm::io
