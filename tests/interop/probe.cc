// Shows what a model computes, for scripts that compare it with other programs:
//
//   interop_probe MODEL encode   < text      its tokens, in decimal
//   interop_probe MODEL logits   < tokens    float32 (tokens, vocabulary), little-endian
//   interop_probe MODEL greedy N < tokens    the N likeliest tokens that follow
//
// MODEL is whatever the program's commands take.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "cllm/base/denormals.h"
#include "cllm/base/error.h"
#include "cllm/data/tokenizer.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/generator.h"

namespace {

using namespace cllm;

std::vector<std::uint32_t> read_tokens() {
  return {std::istream_iterator<std::uint32_t>(std::cin), {}};
}

void print_tokens(std::span<const std::uint32_t> tokens) {
  for (const std::uint32_t token : tokens) fmt::print("{} ", token);
  fmt::print("\n");
}

void run(const std::string& path, const std::string& command, std::size_t count) {
  const io::ModelHead head = io::read_model_head(path);
  if (command == "encode") {
    if (head.run.tokenizer_kind.empty()) fail("{} has no tokenizer", path);
    const auto tokenizer = data::make_tokenizer(head.run.tokenizer_kind, head.run.tokenizer_blob);
    const std::string text(std::istreambuf_iterator<char>(std::cin), {});
    return print_tokens(tokenizer->encode(text));
  }
  kernels::prepare_blas(1);
  const model::Model model(head.run.model, kernels::select_kernels());
  AlignedBuffer<float> parameters(model.layout().flat_size());
  io::read_model_weights(path, model.layout(), parameters.span());
  model::Generator generator(model, parameters.span(), nullptr, head.run.token_rows);
  std::vector<std::uint32_t> tokens = read_tokens();
  if (command == "logits") {
    for (const std::uint32_t token : tokens) {
      const std::span<const float> logits = generator.advance({&token, 1});
      std::fwrite(logits.data(), sizeof(float), logits.size(), stdout);
    }
    return;
  }
  std::span<const float> logits = generator.advance(tokens);
  tokens.clear();
  while (tokens.size() < count) {
    tokens.push_back(static_cast<std::uint32_t>(std::ranges::max_element(logits) - logits.begin()));
    logits = generator.advance(std::span(tokens).last(1));
  }
  print_tokens(tokens);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 3) fail("interop_probe MODEL encode|logits|greedy [N]");
    flush_denormals();
    run(argv[1], argv[2], argc > 3 ? std::stoul(argv[3]) : 0);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "interop_probe: %s\n", error.what());
    return 1;
  }
}
