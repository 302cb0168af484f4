#!/usr/bin/env python3
"""Writes small adapters as PEFT saves them, of the models in golden/ beside this file, and the logits that
transformers computes with them, into golden/adapter-NAME. Needed only to make them anew:

    python3 tests/interop/make_adapters.py

It needs torch, transformers 5 and peft.
"""
import json
import shutil
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

GOLDEN = Path(__file__).resolve().parent / "golden"
MODELS = {"gpt2-f32": ["c_attn", "c_fc", "mlp.c_proj"],
          "llama-bf16-sharded": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
          "qwen3-f16": ["q_proj", "v_proj", "up_proj"],
          "nanochat-f32": ["q_proj", "k_proj", "fc1", "fc2"]}


@torch.no_grad()
def make(name, targets):
    torch.manual_seed(11)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        GOLDEN / name, dtype=torch.float32, attn_implementation="eager")
    config = peft.LoraConfig(r=3, lora_alpha=7, target_modules=targets, task_type="CAUSAL_LM",
                             fan_in_fan_out=name.startswith("gpt2"))
    model = peft.get_peft_model(base, config).eval()
    for key, p in model.named_parameters():
        if "lora_" in key:
            p.normal_(0, p.shape[-1] ** -0.5)
    folder = GOLDEN / f"adapter-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "adapter_config.json").unlink()
    tokens = json.loads((GOLDEN / name / "tokens.json").read_text())
    logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    (folder / "logits.bin").write_bytes(logits.numpy().astype("<f4").tobytes())
    print(name, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


for model_name, model_targets in MODELS.items():
    make(model_name, model_targets)
