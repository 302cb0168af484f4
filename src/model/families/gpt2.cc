#include <optional>
#include <string>

#include "cllm/model/families.h"
#include "cllm/model/ops/activation.h"
#include "cllm/model/ops/attention.h"
#include "cllm/model/ops/linear.h"
#include "cllm/model/ops/norm.h"

namespace cllm::model {
namespace {

class Gpt2 {
 public:
  explicit Gpt2(Network& network)
      : n_(network),
        layout_(network.layout),
        a_(network.activations),
        c_(layout_.config().channels),
        layers_(layout_.config().layers) {}

  void make() {
    make_embedding();
    for (std::size_t l = 0; l < layers_; ++l) make_layer(l);
    n_.last.add(norm_before(layers_, layout_.ln_f_weight(), layout_.ln_f_bias()));
    make_head();
  }

 private:
  // The residual stream as it enters layer l, or the head, and as it is between attention and MLP;
  // and the gradients by them.
  Buffer residual(std::size_t l) { return a_.keep("residual", l, c_); }
  Buffer middle(std::size_t l) { return a_.keep("middle", l, c_); }
  Buffer dresidual(std::size_t l) { return a_.gradient_in_turn("dresidual", l, c_); }
  Buffer dmiddle(std::size_t l) { return a_.gradient_in_turn("dmiddle", l, c_); }

  /// What comes out of attention or MLP; on the way back the gradient by attention's heads.
  Buffer branch() { return a_.pass("branch", c_); }
  /// The gradient by any norm's output.
  Buffer dnorm() { return a_.gradient("dnorm", c_); }
  /// The output of the norm before attention, or before the head.
  Buffer normal(std::size_t l) { return a_.keep("ln_1", l, c_); }

  bool is_factorised() const { return layout_.config().is_factorised(); }
  Buffer projected() {
    return is_factorised() ? a_.pass("projected", layout_.config().embedding_width())
                           : normal(layers_);
  }
  Buffer dprojected() {
    return is_factorised() ? a_.gradient("dprojected", layout_.config().embedding_width())
                           : dnorm();
  }

  void make_embedding() {
    Embedding::Tensors tensors{
        .tokens = layout_.embedding(), .basis = {}, .positions = layout_.wpe()};
    Embedding::Buffers buffers{
        .codes = {}, .x = residual(0), .dx = dresidual(0), .drows = dresidual(0)};
    if (is_factorised()) {
      const std::size_t width = layout_.config().embedding_width();
      tensors.basis = layout_.embedding_basis();
      buffers.codes = a_.pass("codes", width);
      buffers.drows = a_.gradient("dcodes", width);
      buffers.head_x = normal(layers_);
      buffers.dprojected = dprojected();
    }
    n_.embedding = std::make_unique<const Embedding>(tensors, buffers);
  }

  /// The norm at the entry of layer l, or of the head, which adds the MLP of the layer before.
  std::unique_ptr<const Norm> norm_before(std::size_t l, std::size_t gain, std::size_t shift) {
    Norm::Tensors tensors{.gain = gain, .shift = shift};
    Norm::Buffers buffers{.x = residual(0),
                          .sum = residual(l),
                          .y = normal(l),
                          .mean = a_.keep("mean_1", l, 1),
                          .rstd = a_.keep("rstd_1", l, 1),
                          .dy = dnorm(),
                          .dsum = dresidual(l)};
    if (l > 0) {
      tensors.branch_bias = layout_.layer(l - 1).mlp_proj_bias;
      buffers.x = middle(l - 1);
      buffers.branch = branch();
    }
    if (l < layers_) buffers.dnext = dmiddle(l);
    return std::make_unique<const Norm>(tensors, buffers);
  }

  void make_layer(std::size_t l) {
    const LayerTensors& t = layout_.layer(l);
    Block& block = n_.layers.emplace_back();
    const auto add = [&]<typename Kind>(const Kind& part) {
      block.add(std::make_unique<const Kind>(part));
    };
    const Buffer qkv = a_.keep("qkv", l, 3 * c_, Activations::Kept::kKeysValues);
    const Buffer dqkv = a_.gradient("dqkv", 3 * c_);
    const Buffer heads = a_.keep("attention", l, c_);
    const Buffer ln_2 = a_.keep("ln_2", l, c_);
    const Buffer fc = a_.keep("fc", l, 4 * c_), gelu = a_.keep("gelu", l, 4 * c_);
    const Buffer dhidden = a_.gradient_in_turn("dhidden", l, 4 * c_);

    block.add(norm_before(l, t.ln_1_weight, t.ln_1_bias));
    add(Linear(t.c_attn_weight, t.c_attn_bias,
               {.x = normal(l), .y = qkv, .dy = dqkv, .dx = dnorm()}));
    add(Attention(l, layout_.config().heads,
                  {.qkv = qkv,
                   .log_sum_exp = a_.keep("log_sum_exp", l, layout_.config().heads),
                   .y = heads,
                   .dy = branch(),
                   .dqkv = dqkv}));
    add(Linear(t.attn_proj_weight, {},
               {.x = heads, .y = branch(), .dy = dmiddle(l), .dx = branch()}));
    add(Norm({.gain = t.ln_2_weight, .shift = t.ln_2_bias, .branch_bias = t.attn_proj_bias},
             {.x = residual(l),
              .branch = branch(),
              .sum = middle(l),
              .y = ln_2,
              .mean = a_.keep("mean_2", l, 1),
              .rstd = a_.keep("rstd_2", l, 1),
              .dy = dnorm(),
              .dnext = dresidual(l + 1),
              .dsum = dmiddle(l)}));
    add(Linear(t.c_fc_weight, {}, {.x = ln_2, .y = fc, .dy = dhidden, .dx = dnorm()}));
    add(Gelu(t.c_fc_bias, {.x = fc, .y = gelu, .d = dhidden}));
    add(Linear(t.mlp_proj_weight, {},
               {.x = gelu, .y = branch(), .dy = dresidual(l + 1), .dx = dhidden}));
  }

  void make_head() {
    LmHead::Tensors tensors{.weight = layout_.lm_head(), .basis = {}};
    if (is_factorised()) tensors.basis = layout_.embedding_basis();
    n_.head = std::make_unique<const LmHead>(tensors, LmHead::Buffers{.x = normal(layers_),
                                                                      .projected = projected(),
                                                                      .dx = dnorm(),
                                                                      .dprojected = dprojected()});
  }

  Network& n_;
  const Layout& layout_;
  Activations& a_;
  const std::size_t c_;       // channels
  const std::size_t layers_;  // L
};

}  // namespace

void make_gpt2(Network& network) { Gpt2(network).make(); }

}  // namespace cllm::model
