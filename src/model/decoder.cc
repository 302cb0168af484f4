#include "decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cllm/model/ops/activation.h"
#include "cllm/model/ops/attention.h"
#include "cllm/model/ops/linear.h"
#include "cllm/model/ops/norm.h"
#include "cllm/model/ops/queries_keys.h"

namespace cllm::model {
namespace {

class Decoder {
 public:
  explicit Decoder(Network& network)
      : n_(network),
        layout_(network.layout),
        config_(layout_.config()),
        parts_(config_.parts),
        a_(network.activations),
        c_(config_.channels),
        layers_(config_.layers) {
    if (parts_.positions == PositionKind::kRotary) {
      angles_ = std::make_shared<const RotaryAngles>(config_.context, config_.head_size,
                                                     parts_.rope_theta);
    }
  }

  void make() {
    make_embedding();
    for (std::size_t l = 0; l < layers_; ++l) make_layer(l);
    n_.last.add(norm_before(layers_, layout_.ln_f()));
    make_head();
  }

 private:
  // The residual stream as it enters layer l, or the head, and as it is between attention and MLP;
  // and the gradients by them.
  Buffer residual(std::size_t l) { return a_.keep("residual", l, c_, Activations::Kept::kStream); }
  Buffer middle(std::size_t l) { return a_.keep("middle", l, c_, Activations::Kept::kStream); }
  Buffer dresidual(std::size_t l) { return a_.gradient_in_turn("dresidual", l, c_); }
  Buffer dmiddle(std::size_t l) { return a_.gradient_in_turn("dmiddle", l, c_); }

  /// What comes out of attention or MLP.
  Buffer branch() { return a_.pass("branch", c_); }
  /// The gradient by attention's heads.
  Buffer dheads() {
    return config_.query_width() == c_ ? branch() : a_.gradient("dheads", config_.query_width());
  }
  /// The gradient by any norm's output.
  Buffer dnorm() { return a_.gradient("dnorm", c_); }
  /// The output of the norm before attention, or before the head.
  Buffer normal(std::size_t l) { return a_.keep("ln_1", l, c_); }
  /// A number for each row that a norm keeps for backward.
  Buffer rstd(const char* name, std::size_t l) { return a_.keep(name, l, 1); }
  std::optional<Buffer> mean(const char* name, std::size_t l) {
    if (parts_.norm != NormKind::kLayer) return std::nullopt;
    return a_.keep(name, l, 1);
  }

  /// What the head multiplies the codes of each factorised band with, or the gradient by that.
  template <typename Declare>
  std::vector<std::optional<Buffer>> by_bases(const Declare& declare) {
    std::vector<std::optional<Buffer>> buffers;
    for (const TableBand& band : layout_.lm_head()) {
      buffers.emplace_back();
      if (!band.basis) continue;
      buffers.back() = declare(fmt::format("{}", buffers.size()), layout_[*band.basis].rows);
    }
    return buffers;
  }
  std::vector<std::optional<Buffer>> projected() {
    return by_bases([&](const std::string& band, std::size_t rank) {
      return a_.pass("projected_" + band, rank);
    });
  }
  std::vector<std::optional<Buffer>> dprojected() {
    return by_bases([&](const std::string& band, std::size_t rank) {
      return a_.gradient("dprojected_" + band, rank);
    });
  }

  /// The embeddings as they are looked up, where a norm follows, and the gradient by them.
  Buffer embedded() { return parts_.embedding_norm ? a_.keep("embedded", 0, c_) : residual(0); }
  Buffer dembedded() { return parts_.embedding_norm ? a_.gradient("dembedded", c_) : dresidual(0); }

  void make_embedding() {
    const std::span<const TableBand> bands = layout_.embedding();
    Embedding::Buffers buffers{.x = embedded(),
                               .dx = dembedded(),
                               .banded = embedded(),
                               .dbanded = dembedded(),
                               .codes = {},
                               .dcodes = {}};
    if (bands.size() > 1) {
      buffers.banded = branch();  // of no use before the first layer
      buffers.dbanded = a_.gradient("dbanded", c_);
    }
    std::size_t widest = 0;
    for (const TableBand& band : bands) {
      if (band.basis) widest = std::max(widest, layout_[*band.basis].rows);
    }
    if (widest > 0) {
      buffers.codes = a_.pass("codes", widest);
      buffers.dcodes = a_.gradient("dcodes", widest);
      if (layout_.is_tied()) {
        buffers.head_x = normal(layers_);
        buffers.dprojected = dprojected();
      }
    }
    n_.embedding = std::make_unique<const Embedding>(
        Embedding::Tensors{.bands = bands, .positions = layout_.wpe()}, buffers);
  }

  std::unique_ptr<const Norm> norm_of_embeddings() {
    return std::make_unique<const Norm>(parts_, Norm::Tensors{.norm = layout_.embedding_norm()},
                                        Norm::Buffers{.x = embedded(),
                                                      .sum = embedded(),
                                                      .y = residual(0),
                                                      .mean = mean("mean_e", 0),
                                                      .rstd = rstd("rstd_e", 0),
                                                      .dy = dresidual(0),
                                                      .dsum = dembedded()});
  }

  /// The norm at the entry of layer l, or of the head, which adds the MLP of the layer before.
  std::unique_ptr<const Norm> norm_before(std::size_t l, const NormTensors& norm) {
    Norm::Tensors tensors{.norm = norm};
    Norm::Buffers buffers{.x = residual(0),
                          .sum = residual(l),
                          .y = normal(l),
                          .mean = mean("mean_1", l),
                          .rstd = rstd("rstd_1", l),
                          .dy = dnorm(),
                          .dsum = dresidual(l)};
    if (l > 0) {
      tensors.branch_bias = layout_.layer(l - 1).mlp_proj_bias;
      buffers.x = middle(l - 1);
      buffers.branch = branch();
    }
    if (l < layers_) buffers.dnext = dmiddle(l);
    return std::make_unique<const Norm>(parts_, tensors, buffers);
  }

  void make_layer(std::size_t l) {
    const LayerTensors& t = layout_.layer(l);
    Block& block = n_.layers.emplace_back();
    if (l == 0 && parts_.embedding_norm) block.add(norm_of_embeddings());
    block.add(norm_before(l, t.ln_1));
    add_attention(l, block);
    const Buffer ln_2 = a_.keep("ln_2", l, c_);
    block.add(std::make_unique<const Norm>(
        parts_, Norm::Tensors{.norm = t.ln_2, .branch_bias = t.attn_proj_bias},
        Norm::Buffers{.x = residual(l),
                      .branch = branch(),
                      .sum = middle(l),
                      .y = ln_2,
                      .mean = mean("mean_2", l),
                      .rstd = rstd("rstd_2", l),
                      .dy = dnorm(),
                      .dnext = dresidual(l + 1),
                      .dsum = dmiddle(l)}));
    add_mlp(l, ln_2, block);
  }

  /// A product with one of the layer's matrices, with its adapters.
  void add_linear(std::size_t l, std::size_t weight, std::optional<std::size_t> bias,
                  const Linear::Buffers& buffers, Block& block) {
    const Lora& lora = config_.lora;
    std::vector<Adapter> adapters;
    for (const AdapterTensors& tensors : layout_.adapters_of(weight)) {
      const std::string name = fmt::format("low_{}", name_of(tensors.target));
      adapters.emplace_back(
          tensors, lora.scale(),
          Adapter::Buffers{.x = buffers.x,
                           .y = buffers.y,
                           .dy = buffers.dy,
                           .dx = buffers.dx,
                           .low = a_.keep(name, l, lora.rank),
                           .dlow = a_.gradient_in_turn("d" + name, l, lora.rank)});
    }
    block.add(std::make_unique<const Linear>(weight, bias, buffers, std::move(adapters)));
  }

  void add_attention(std::size_t l, Block& block) {
    using Kept = Activations::Kept;
    const LayerTensors& t = layout_.layer(l);
    const Buffer qkv = a_.keep("qkv", l, config_.qkv_width(), Kept::kKeysValues);
    const Buffer dqkv = a_.gradient("dqkv", config_.qkv_width());
    const Buffer heads = a_.keep("attention", l, config_.query_width());
    const bool is_normed = parts_.qk_norm != QkNorm::kNone;
    const Buffer qk =
        is_normed ? a_.keep("qk", l, config_.query_width() + config_.kv_width(), Kept::kKeysValues)
                  : qkv;

    add_linear(l, t.c_attn_weight, t.c_attn_bias,
               {.x = normal(l), .y = qkv, .dy = dqkv, .dx = dnorm()}, block);
    if (is_normed || angles_) {
      std::optional<QueriesKeys::Normed> norm;
      if (is_normed) {
        norm = {.q_gain = t.q_norm,
                .k_gain = t.k_norm,
                .q_rstd = a_.keep("q_rstd", l, config_.heads),
                .k_rstd = a_.keep("k_rstd", l, config_.kv_heads),
                .epsilon = static_cast<float>(parts_.norm_epsilon)};
      }
      block.add(std::make_unique<const QueriesKeys>(
          Heads{config_.heads, config_.kv_heads, config_.head_size}, norm, angles_,
          QueriesKeys::Buffers{.qkv = qkv, .qk = qk, .dqkv = dqkv}));
    }
    block.add(std::make_unique<const Attention>(
        l, Heads{config_.heads, config_.kv_heads, config_.head_size},
        Attention::Buffers{.qk = qk,
                           .qkv = qkv,
                           .log_sum_exp = a_.keep("log_sum_exp", l, config_.heads),
                           .y = heads,
                           .dy = dheads(),
                           .dqkv = dqkv}));
    add_linear(l, t.attn_proj_weight, std::nullopt,
               {.x = heads, .y = branch(), .dy = dmiddle(l), .dx = dheads(), .y_is_kept = false},
               block);
  }

  void add_mlp(std::size_t l, Buffer ln_2, Block& block) {
    const LayerTensors& t = layout_.layer(l);
    const std::size_t inputs = config_.mlp_inputs(), width = config_.mlp_width;
    const Buffer fc = a_.keep("fc", l, inputs), active = a_.keep("active", l, width);
    const Buffer dfc = a_.gradient_in_turn("dfc", l, inputs);
    const Buffer dactive = inputs == width ? dfc : a_.gradient("dactive", width);
    add_linear(l, t.c_fc_weight, std::nullopt, {.x = ln_2, .y = fc, .dy = dfc, .dx = dnorm()},
               block);
    block.add(std::make_unique<const Activation>(
        parts_.mlp, t.c_fc_bias,
        Activation::Buffers{.x = fc, .y = active, .dy = dactive, .dx = dfc}));
    add_linear(
        l, t.mlp_proj_weight, std::nullopt,
        {.x = active, .y = branch(), .dy = dresidual(l + 1), .dx = dactive, .y_is_kept = false},
        block);
  }

  void make_head() {
    n_.head = std::make_unique<const LmHead>(
        LmHead::Tensors{.bands = layout_.lm_head(), .owns_bases = !layout_.is_tied()},
        parts_.softcap,
        LmHead::Buffers{.x = normal(layers_),
                        .dx = dnorm(),
                        .projected = projected(),
                        .dprojected = dprojected()});
  }

  Network& n_;
  const Layout& layout_;
  const ModelConfig& config_;
  const Parts& parts_;
  Activations& a_;
  const std::size_t c_;       // channels
  const std::size_t layers_;  // L
  std::shared_ptr<const RotaryAngles> angles_;
};

}  // namespace

void make_decoder(Network& network) { Decoder(network).make(); }

}  // namespace cllm::model
