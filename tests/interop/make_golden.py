#!/usr/bin/env python3
"""Writes small random models of other programs, and the logits that they compute, into golden/
beside itself. Needed only to make them anew:

    python3 tests/interop/make_golden.py --llama-cpp DIR --llm-c DIR

DIR are sources of llama.cpp, whose converter writes the GGUF files, and of llm.c, whose
train_gpt2.py writes its checkpoints. It needs torch, transformers 5, gguf and llama-cpp-python,
which quantises.

golden/NAME/ holds the model as the program wrote it (a directory of transformers lies there
itself, else the one file "model"), tokens.json, and logits.bin: what transformers computes in
float32 of the weights as they are stored, (positions, vocabulary), little-endian.
"""
import argparse
import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

arguments = argparse.ArgumentParser()
arguments.add_argument("--llama-cpp", type=Path, required=True)
arguments.add_argument("--llm-c", type=Path, required=True)
options = arguments.parse_args()
sys.path[:0] = [str(options.llama_cpp / "gguf-py"), str(options.llama_cpp), str(options.llm_c)]
import gguf  # noqa: E402: that of the converter

V, T = 61, 16
GOLDEN = Path(__file__).resolve().parent / "golden"


def rotary(channels):
    return dict(vocab_size=V, hidden_size=channels, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=T, attn_implementation="eager",
                bos_token_id=None, eos_token_id=None, pad_token_id=None)


def make(family, channels=16, inner=24):
    torch.manual_seed(7)
    if family == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=V, n_positions=T, n_embd=channels, n_layer=2, n_head=4, n_inner=inner,
            bos_token_id=None,
            eos_token_id=None, attn_implementation="eager")
        model = transformers.GPT2LMHeadModel(config)
    elif family == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            intermediate_size=32, rms_norm_eps=1e-5, tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=5e5), **rotary(channels)))
    elif family == "qwen3":
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(
            intermediate_size=32, head_dim=8, tie_word_embeddings=True,
            rope_parameters=dict(rope_type="default", rope_theta=1e6), **rotary(channels)))
    else:
        model = transformers.NanoChatForCausalLM(transformers.NanoChatConfig(
            intermediate_size=24, rope_parameters=dict(rope_type="default", rope_theta=1e4),
            **rotary(channels)))
    # Far from where training starts, so that everything bends and every vector counts.
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 2:
                p.normal_(0, p.shape[-1] ** -0.5)
            else:
                p.normal_(1 if name.endswith("weight") else 0, 0.3)
    return model.eval()


@torch.no_grad()
def save_logits(folder, model):
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(V, (1, T // 2), generator=generator)
    logits = model.float()(input_ids=tokens, use_cache=False).logits[0]
    (folder / "logits.bin").write_bytes(logits.numpy().astype("<f4").tobytes())
    (folder / "tokens.json").write_text(json.dumps(tokens[0].tolist()) + "\n")


def fresh(name):
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def save_transformers(name, family, dtype, **options):
    folder = fresh(name)
    model = make(family).to(dtype)
    model.save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_logits(folder, model)


def convert(model, out, outtype):
    """By llama.cpp's own converter, without a tokenizer."""
    base = importlib.import_module("conversion.base")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = Path(folder) / "config.json"
        fields = json.loads(config.read_text())
        # The converter wants it, and transformers 5 doesn't write it.
        config.write_text(json.dumps(fields | {"n_ctx": T}))
        architecture = model.config.architectures[0]
        module = {"GPT2LMHeadModel": "gpt2", "LlamaForCausalLM": "llama",
                  "Qwen3ForCausalLM": "qwen"}[architecture]
        importlib.import_module(f"conversion.{module}")
        kind = base.ModelBase.from_model_architecture(architecture)

        class WithoutTokenizer(kind):
            model_arch = kind.model_arch

            def set_vocab(self):
                self._set_vocab_none()
        WithoutTokenizer(Path(folder), outtype, out).write()


def quantise(source, out, kind):
    import llama_cpp
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.pure = kind, True
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), options) == 0


@torch.no_grad()
def rounded(model, kind):
    """The matrices as ggml's blocks have them, by gguf's Python code."""
    for name, p in model.named_parameters():
        if p.dim() == 2:
            values = gguf.quants.dequantize(gguf.quants.quantize(p.numpy(), kind), kind)
            p.copy_(torch.from_numpy(values.copy()))
    return model


def save_gguf(name, family, outtype, channels=16, quantised=None):
    folder, ftypes = fresh(name), gguf.LlamaFileType
    # llama.cpp's converter takes no other width of GPT-2's MLP than the usual one.
    model = make(family, channels, None if family == "gpt2" else 24)
    if quantised is None:
        dtype = {ftypes.ALL_F32: torch.float32, ftypes.MOSTLY_F16: torch.float16,
                 ftypes.MOSTLY_BF16: torch.bfloat16}[outtype]
        convert(model, folder / "model", outtype)
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() == 2:
                    p.copy_(p.to(dtype).float())
    else:
        with tempfile.TemporaryDirectory() as temporary:
            plain = Path(temporary) / "plain.gguf"
            convert(model, plain, ftypes.ALL_F32)
            quantise(plain, folder / "model", quantised)
        kind = {ftypes.MOSTLY_Q8_0: gguf.GGMLQuantizationType.Q8_0,
                ftypes.MOSTLY_Q4_0: gguf.GGMLQuantizationType.Q4_0}[quantised]
        rounded(model, kind)
    save_logits(folder, model)


def save_llm_c(name, dtype):
    import train_gpt2

    def pad_vocab(tensor, multiple=128, value=0):  # without its insistence on 50257
        return torch.nn.functional.pad(tensor, (0, 0, 0, -tensor.shape[0] % 64), value=value)
    train_gpt2.pad_vocab = pad_vocab
    folder, model = fresh(name), make("gpt2", inner=None)
    theirs = train_gpt2.GPT(train_gpt2.GPTConfig(block_size=T, vocab_size=V, n_layer=2, n_head=4,
                                                 n_embd=16))
    weights = {n: w.t() if n.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else w
               for n, w in model.state_dict().items()}
    theirs.load_state_dict(weights, strict=False)
    train_gpt2.write_model(theirs, str(folder / "model"), dtype)
    save_logits(folder, model.to(getattr(torch, dtype)))


def block_examples():
    """Rows of 64 numbers, among them zeros, equal sizes and halves, and ggml's blocks of them."""
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(12, 64)).astype(np.float32)
    rows[1] = 0
    rows[2] = np.round(rows[2] * 4) / 4
    rows[3, ::2] = -rows[3, 1::2]
    rows[4] *= 1e-6
    rows[5] *= 1e4
    rows[6] = np.where(rows[6] > 0, 1, -1)
    rows[7, 5:] = 0
    with open(GOLDEN / "blocks.bin", "wb") as file:
        file.write(rows.tobytes())
        for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
            blocks = gguf.quants.quantize(rows, kind)
            file.write(blocks.tobytes())
            file.write(gguf.quants.dequantize(blocks, kind).astype(np.float32).tobytes())


GOLDEN.mkdir(exist_ok=True)
block_examples()
save_transformers("gpt2-f32", "gpt2", torch.float32)
save_transformers("llama-bf16-sharded", "llama", torch.bfloat16, max_shard_size=4000)
save_transformers("qwen3-f16", "qwen3", torch.float16)
save_transformers("nanochat-f32", "nanochat", torch.float32)
FTYPE = gguf.LlamaFileType
save_gguf("gguf-gpt2-f32", "gpt2", FTYPE.ALL_F32)
save_gguf("gguf-llama-f16", "llama", FTYPE.MOSTLY_F16)
save_gguf("gguf-qwen3-bf16", "qwen3", FTYPE.MOSTLY_BF16)
save_gguf("gguf-llama-q8_0", "llama", None, 32, FTYPE.MOSTLY_Q8_0)
save_gguf("gguf-llama-q4_0", "llama", None, 32, FTYPE.MOSTLY_Q4_0)
save_llm_c("llm_c-f32", "float32")
save_llm_c("llm_c-bf16", "bfloat16")
