"""The models of all families in plain PyTorch, and the same weights in transformers' models."""
import math

import torch
import torch.nn.functional as F

# What each family is made of, and a small shape of it. Sizes are such that none is another's
# multiple by chance: heads share keys, and Qwen's are wider than channels / heads.
FAMILIES = {
    "gpt2": dict(
        shape=dict(layers=2, heads=2, channels=16, context=8, vocabulary=29),
        parts=dict(norm="layer", epsilon=1e-5, biases=True, tied=True)),
    "llama": dict(
        shape=dict(layers=2, heads=4, channels=32, context=16, vocabulary=97, kv_heads=2,
                   head_size=8, mlp_width=48),
        parts=dict(norm="rms", epsilon=1e-5, rope_theta=10000.0, biases=False, tied=True)),
    "qwen3": dict(
        shape=dict(layers=2, heads=4, channels=32, context=16, vocabulary=97, kv_heads=2,
                   head_size=12, mlp_width=40),
        parts=dict(norm="rms", epsilon=1e-6, rope_theta=1e6, biases=False, tied=True)),
    "nanochat": dict(
        shape=dict(layers=2, heads=4, channels=32, context=16, vocabulary=97, kv_heads=2,
                   head_size=8, mlp_width=64),
        parts=dict(norm="plain", epsilon=1e-6, rope_theta=10000.0, biases=False, tied=False,
                   softcap=15.0)),
}


def sizes_of(shape):
    """Widths of queries, of keys, of the MLP."""
    head = shape.get("head_size", shape["channels"] // shape["heads"])
    return (shape["heads"] * head, shape.get("kv_heads", shape["heads"]) * head,
            shape.get("mlp_width", 4 * shape["channels"]), head)


def tensor_shapes(family):
    """Names and shapes of a family's tensors, as the trainer's files have them."""
    shape, parts = FAMILIES[family]["shape"], FAMILIES[family]["parts"]
    C, T, V = (shape[name] for name in ("channels", "context", "vocabulary"))
    D, K, M, head = sizes_of(shape)
    shapes = {"wte.weight": (V, C)}
    if family == "gpt2":
        shapes["wpe.weight"] = (T, C)

    def add_norm(name):
        if parts["norm"] != "plain":
            shapes[f"{name}.weight"] = (C,)
        if parts["norm"] == "layer":
            shapes[f"{name}.bias"] = (C,)

    def add_linear(name, rows, columns):
        shapes[f"{name}.weight"] = (rows, columns)
        if parts["biases"]:
            shapes[f"{name}.bias"] = (rows,)

    if family == "nanochat":
        add_norm("ln_e")
    for l in range(shape["layers"]):
        add_norm(f"h.{l}.ln_1")
        add_linear(f"h.{l}.attn.c_attn", D + 2 * K, C)
        if family == "qwen3":
            shapes |= {f"h.{l}.attn.q_norm.weight": (head,), f"h.{l}.attn.k_norm.weight": (head,)}
        add_linear(f"h.{l}.attn.c_proj", C, D)
        add_norm(f"h.{l}.ln_2")
        add_linear(f"h.{l}.mlp.c_fc", 2 * M if family in ("llama", "qwen3") else M, C)
        add_linear(f"h.{l}.mlp.c_proj", C, M)
    add_norm("ln_f")
    if not parts["tied"]:
        shapes["lm_head.weight"] = (V, C)
    return shapes


def initial_parameters(family, generator):
    """Far from where training starts, so that activations and softmax bend and every vector counts.
    The numbers are floats, held in float64."""
    parameters = {}
    for name, shape in tensor_shapes(family).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 2:
            value = noise / math.sqrt(shape[1])
        else:
            is_gain = name.endswith("weight")
            value = 0.3 * noise + (1 if is_gain else 0)
        parameters[name] = value.float().double().requires_grad_()
    return parameters


def rotated(x, theta):
    """x (B, H, T, d): pairs (i, i + d/2) turned by the angle position / theta^(2i/d)."""
    T, d = x.shape[2:]
    steps = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angles = torch.outer(torch.arange(T, dtype=torch.float64), steps)
    turn = torch.polar(torch.ones_like(angles), angles)
    turned = torch.complex(x[..., :d // 2], x[..., d // 2:]) * turn
    return torch.cat([turned.real, turned.imag], dim=3)


def logits_of(family, p, inputs):
    """Logits (B, T, V) of inputs (B, T)."""
    shape, parts = FAMILIES[family]["shape"], FAMILIES[family]["parts"]
    C, H = shape["channels"], shape["heads"]
    D, K, M, head = sizes_of(shape)
    B, T = inputs.shape

    def rms(x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + parts["epsilon"])

    def norm(name, x):
        if parts["norm"] == "layer":
            return F.layer_norm(x, (C,), p[f"{name}.weight"], p[f"{name}.bias"],
                                eps=parts["epsilon"])
        return rms(x) * p[f"{name}.weight"] if parts["norm"] == "rms" else rms(x)

    def linear(name, x):
        return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))

    def mlp(name, x):
        y = linear(f"{name}.c_fc", x)
        if family == "gpt2":
            y = F.gelu(y, approximate="tanh")
        elif family == "nanochat":
            y = F.relu(y) ** 2
        else:
            gate, value = y.split(M, dim=2)
            y = F.silu(gate) * value
        return linear(f"{name}.c_proj", y)

    def heads(x):
        return x.view(B, T, -1, head).transpose(1, 2)

    def attention(name, x):
        q, k, v = (heads(part) for part in linear(f"{name}.c_attn", x).split([D, K, K], dim=2))
        if family == "qwen3":
            q, k = rms(q) * p[f"{name}.q_norm.weight"], rms(k) * p[f"{name}.k_norm.weight"]
        if family == "nanochat":
            q, k = rms(q), rms(k)
        if family != "gpt2":
            q, k = rotated(q, parts["rope_theta"]), rotated(k, parts["rope_theta"])
        k, v = (part.repeat_interleave(D // K, dim=1) for part in (k, v))
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(2, 3) / math.sqrt(head)).masked_fill(future, -math.inf)
        together = (scores.softmax(dim=3) @ v).transpose(1, 2).reshape(B, T, D)
        return linear(f"{name}.c_proj", together)

    x = F.embedding(inputs, p["wte.weight"])
    if family == "gpt2":
        x = x + p["wpe.weight"][:T]
    if family == "nanochat":
        x = norm("ln_e", x)
    for l in range(shape["layers"]):
        x = x + attention(f"h.{l}.attn", norm(f"h.{l}.ln_1", x))
        x = x + mlp(f"h.{l}.mlp", norm(f"h.{l}.ln_2", x))
    logits = F.linear(norm("ln_f", x), p["wte.weight" if parts["tied"] else "lm_head.weight"])
    if "softcap" in parts:
        logits = parts["softcap"] * torch.tanh(logits / parts["softcap"])
    return logits
