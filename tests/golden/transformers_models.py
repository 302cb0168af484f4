"""The trainer's weights in transformers' models of the same families, and what these compute."""
import torch
import transformers

from torch_models import FAMILIES, sizes_of


def model_of(family):
    shape, parts = FAMILIES[family]["shape"], FAMILIES[family]["parts"]
    _, _, M, head = sizes_of(shape)
    options = dict(
        vocab_size=shape["vocabulary"], hidden_size=shape["channels"],
        num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"], intermediate_size=M,
        max_position_embeddings=shape["context"], rms_norm_eps=parts["epsilon"],
        rope_parameters=dict(rope_type="default", rope_theta=parts["rope_theta"]),
        tie_word_embeddings=parts["tied"], attn_implementation="eager",
        bos_token_id=0, eos_token_id=1, pad_token_id=None)
    if family == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(head_dim=head, **options))
    if family == "qwen3":
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(head_dim=head, **options))
    return transformers.NanoChatForCausalLM(transformers.NanoChatConfig(
        final_logit_softcapping=parts["softcap"], **options))


def weights_for(family, parameters):
    """The trainer's tensors under transformers' names."""
    shape, parts = FAMILIES[family]["shape"], FAMILIES[family]["parts"]
    D, K, M, head = sizes_of(shape)
    p = {name: value.detach().float() for name, value in parameters.items()}

    def turned_back(rows):
        """transformers' NanoChat rotates in the opposite direction, which is to rotate the halves
        of a head the other way round: queries and keys alike, so that scores are the same."""
        if family != "nanochat":
            return rows
        return rows.view(-1, 2, head // 2, rows.shape[1]).flip(1).reshape(rows.shape)

    weights = {"model.embed_tokens.weight": p["wte.weight"],
               "lm_head.weight": p["wte.weight" if parts["tied"] else "lm_head.weight"]}
    if parts["norm"] == "rms":
        weights["model.norm.weight"] = p["ln_f.weight"]
    for l in range(shape["layers"]):
        to, of = f"model.layers.{l}", f"h.{l}"
        q, k, v = p[f"{of}.attn.c_attn.weight"].split([D, K, K])
        weights |= {f"{to}.self_attn.q_proj.weight": turned_back(q),
                    f"{to}.self_attn.k_proj.weight": turned_back(k),
                    f"{to}.self_attn.v_proj.weight": v,
                    f"{to}.self_attn.o_proj.weight": p[f"{of}.attn.c_proj.weight"]}
        if family == "qwen3":
            weights |= {f"{to}.self_attn.q_norm.weight": p[f"{of}.attn.q_norm.weight"],
                        f"{to}.self_attn.k_norm.weight": p[f"{of}.attn.k_norm.weight"]}
        if parts["norm"] == "rms":
            weights |= {f"{to}.input_layernorm.weight": p[f"{of}.ln_1.weight"],
                        f"{to}.post_attention_layernorm.weight": p[f"{of}.ln_2.weight"]}
        fc, proj = p[f"{of}.mlp.c_fc.weight"], p[f"{of}.mlp.c_proj.weight"]
        if family == "nanochat":
            weights |= {f"{to}.mlp.fc1.weight": fc, f"{to}.mlp.fc2.weight": proj}
        else:
            gate, up = fc.split([M, M])
            weights |= {f"{to}.mlp.gate_proj.weight": gate, f"{to}.mlp.up_proj.weight": up,
                        f"{to}.mlp.down_proj.weight": proj}
    return weights


@torch.no_grad()
def logits_of(family, parameters, inputs):
    """Logits (B, T, V) of inputs (B, T), which transformers computes in float32."""
    model = model_of(family).eval()
    missing, unknown = model.load_state_dict(weights_for(family, parameters), strict=False)
    assert not missing and not unknown, (missing, unknown)
    return model(input_ids=inputs, use_cache=False).logits.double()
