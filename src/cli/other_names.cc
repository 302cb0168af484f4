#include "cllm/cli/other_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <numeric>
#include <span>

namespace cllm::cli {
namespace {

/// What other trainers (nanoGPT, llm.c, transformers, Megatron and their kind) call an option, and
/// what it is called here. Of several that a command may have, the first that it has counts.
struct OtherNames {
  std::initializer_list<std::string_view> here;
  std::initializer_list<std::string_view> there;
};

const OtherNames kOptions[] = {
    {{"batch"},
     {"batch-size", "bs", "global-batch-size", "train-batch-size", "total-batch-size", "bsz"}},
    {{"micro-batch"},
     {"micro-batch-size", "per-device-train-batch-size", "device-batch-size", "mbs"}},
    {{"steps"},
     {"max-steps", "max-iters", "train-iters", "iters", "iterations", "num-iterations", "num-steps",
      "n-steps", "num-train-steps", "train-steps", "total-steps", "updates"}},
    {{"epochs"}, {"epoch", "num-epochs", "n-epochs", "max-epochs", "num-train-epochs"}},
    {{"lr"}, {"learning-rate", "max-lr", "peak-lr", "rate", "base-lr"}},
    {{"min-lr"}, {"min-learning-rate", "final-lr", "lr-min", "end-lr"}},
    {{"warmup"},
     {"warmup-steps", "warmup-iters", "num-warmup-steps", "lr-warmup-iters", "lr-warmup-steps"}},
    {{"schedule"},
     {"scheduler", "lr-scheduler", "lr-scheduler-type", "lr-schedule", "lr-decay-style",
      "decay-lr"}},
    {{"weight-decay"}, {"wd", "decay", "l2"}},
    {{"optimizer"}, {"optim", "optimiser", "opt"}},
    {{"freeze"}, {"freeze-layers", "frozen", "freeze-params", "freeze-modules"}},
    {{"lora-rank"}, {"lora-r", "lora", "lora-dim", "adapter-rank"}},
    {{"lora-targets"}, {"target-modules", "lora-target-modules", "lora-target", "lora-modules"}},
    {{"muon-momentum"}, {"momentum", "muon-beta"}},
    {{"beta1"}, {"adam-beta1", "b1"}},
    {{"beta2"}, {"adam-beta2", "b2"}},
    {{"clip"},
     {"grad-clip", "clip-grad", "clip-grad-norm", "max-grad-norm", "gradient-clip",
      "grad-norm-clip", "gradient-clip-val", "clip-norm"}},
    {{"seed"}, {"random-seed", "rng-seed"}},
    {{"context"},
     {"block-size", "seq-len", "seq-length", "sequence-length", "max-seq-len", "max-seq-length",
      "context-length", "context-size", "context-window", "ctx", "ctx-len", "ctx-size", "n-ctx",
      "n-positions", "max-position-embeddings", "max-length", "max-len", "window"}},
    {{"layers"},
     {"n-layer", "n-layers", "nlayer", "num-layers", "num-hidden-layers", "depth", "blocks"}},
    {{"heads"}, {"n-head", "n-heads", "nhead", "num-heads", "num-attention-heads"}},
    {{"channels"},
     {"n-embd", "n-embed", "d-model", "dmodel", "hidden-size", "hidden-dim", "embed-dim",
      "embedding-dim", "embd", "dim", "width", "model-dim", "n-channel"}},
    {{"preset"}, {"model", "model-name", "model-size", "model-type", "size", "arch"}},
    {{"vocabulary", "tokenizer"}, {"vocab-size", "vocab", "n-vocab", "vocabulary-size"}},
    {{"data"},
     {"dataset", "data-dir", "data-path", "train-data", "train-file", "training-data", "corpus",
      "input", "text", "file", "train", "data-mix", "data-mixture", "data-weights"}},
    {{"validation-data", "data"},
     {"val-data", "valid-data", "validation-file", "eval-data", "eval-file", "test-data", "val",
      "valid"}},
    {{"tokenizer"}, {"tokenizer-path", "tokenizer-name", "tokenizer-model", "tokenizer-type"}},
    {{"windows"}, {"packing", "pack", "sample-packing", "packing-strategy"}},
    {{"loss-on"},
     {"completion-only-loss", "assistant-only-loss", "train-on-inputs", "train-on-prompt",
      "train-on-completions", "mask-prompt", "label-masking"}},
    {{"attention-across-documents"},
     {"reset-attention-mask", "reset-position-ids", "intra-document-masking", "document-mask",
      "block-diagonal-attention"}},
    {{"out"},
     {"output", "output-dir", "out-dir", "outdir", "save-dir", "save", "save-path", "log-dir",
      "run-dir", "workdir", "o"}},
    {{"resume"},
     {"resume-from", "resume-from-checkpoint", "load", "load-checkpoint", "continue", "restart",
      "restore", "checkpoint", "ckpt"}},
    {{"init-from", "checkpoint"},
     {"from-pretrained", "pretrained", "init-checkpoint", "finetune", "finetune-from",
      "model-name-or-path", "model-path", "weights", "ckpt", "load"}},
    {{"checkpoint-every"},
     {"save-every", "save-steps", "save-interval", "save-iters", "checkpoint-interval",
      "checkpoint-steps", "ckpt-every", "ckpt-interval"}},
    {{"keep"}, {"save-total-limit", "keep-last", "max-checkpoints", "max-to-keep"}},
    {{"eval-every"},
     {"eval-interval", "eval-steps", "val-every", "val-interval", "val-loss-every"}},
    {{"eval-sequences"}, {"eval-iters", "eval-batches", "val-max-steps", "limit-eval-batches"}},
    {{"target-loss"}, {"stop-at-loss", "stop-loss", "loss-target", "early-stopping-threshold"}},
    {{"patience"},
     {"early-stopping-patience", "early-stopping", "early-stop", "stop-patience",
      "early-stopping-rounds"}},
    {{"sample-every"},
     {"sample-interval", "sample-steps", "sample-freq", "generate-every", "gen-every"}},
    {{"sample-prompt"}, {"sample-text", "sample-start", "generate-prompt"}},
    {{"norms-every"}, {"log-grad-norms", "log-norms", "watch-gradients", "norm-every"}},
    {{"threads"},
     {"num-threads", "n-threads", "nthreads", "cpus", "cores", "jobs", "j", "num-workers",
      "workers"}},
    {{"max-time"},
     {"time-limit", "timeout", "max-train-time", "exit-duration-in-mins", "max-hours"}},
    {{"config"}, {"config-file", "cfg", "yaml", "json-config"}},
    {{"trace"}, {"profile", "profiler"}},
    {{"tokens"},
     {"max-new-tokens", "max-tokens", "num-tokens", "n-tokens", "length", "n-predict", "steps"}},
    {{"prompt"}, {"start", "input", "text"}},
    {{"prompts"}, {"prompt-file", "prompts-file", "input-file", "file"}},
    {{"system"}, {"system-prompt", "system-message", "sys"}},
    {{"stop-at-end"}, {"ignore-eos", "no-eos", "stop", "eos"}},
    {{"jsonl"}, {"json", "output-format"}},
    {{"temperature"}, {"temp", "t"}},
    {{"bits"}, {"wbits", "w-bit", "quantize", "nbits"}},
};

/// What this program has not, and why, or how it goes without.
struct Reason {
  std::initializer_list<std::string_view> names;
  std::string_view why;
};

const Reason kReasons[] = {
    {{"dropout", "lora-dropout", "resid-dropout", "attn-dropout", "embd-dropout", "hidden-dropout",
      "attention-dropout", "resid-pdrop", "embd-pdrop", "attn-pdrop"},
     "there is no dropout, as in most models that see their data a few times only; against "
     "overfitting there are --weight-decay and fewer --steps"},
    {{"gradient-accumulation-steps", "gradient-accumulation", "grad-accum", "grad-accum-steps",
      "accumulate", "accumulate-grad-batches", "update-freq"},
     "nothing has to be accumulated: --batch is the whole step's, over all ranks and threads, in "
     "micro-batches of --micro-batch"},
    {{"warmup-ratio", "warmup-fraction", "lr-warmup-fraction"}, "--warmup counts steps"},
    {{"adam-epsilon", "adam-eps", "epsilon", "eps"}, "AdamW's epsilon is 1e-8"},
    {{"bias", "norm", "activation", "activation-function", "rope", "rotary", "swiglu", "n-inner",
      "ffn-dim", "intermediate-size", "tie-weights", "init-std", "init-method-std"},
     "the model is that of GPT-2: --layers, --heads, --channels and --context are its shape"},
    {{"device", "gpu", "gpus", "n-gpu", "ngpu", "cuda", "no-cuda", "use-cpu", "cpu", "backend"},
     "it computes on processors, with --threads of each rank"},
    {{"fp16", "bf16", "fp32", "amp", "dtype", "precision", "mixed-precision", "half", "compile",
      "tf32", "flash", "flash-attention"},
     "it computes in float32"},
    {{"np", "n", "nproc", "nproc-per-node", "nnodes", "nodes", "ranks", "world-size",
      "num-processes", "node-rank", "master-addr", "master-port", "local-rank", "distributed",
      "ddp"},
     "the launcher says how many ranks there are: mpirun -np N cllm-dist, or srun"},
    {{"tensor-parallel", "tensor-model-parallel-size", "pipeline-parallel",
      "pipeline-model-parallel-size", "fsdp", "deepspeed", "zero", "zero-stage"},
     "every rank has the whole model, and its sequences of each batch"},
    {{"wandb", "wandb-log", "wandb-project", "tensorboard", "tb", "report-to", "logger",
      "log-interval", "log-every", "logging-steps", "logging-dir", "log-file", "log-level",
      "verbose", "v", "quiet", "q"},
     "every step is a line of metrics.jsonl in the run's directory, and standard output has one "
     "every few seconds"},
    {{"shuffle", "no-shuffle", "shuffle-seed"},
     "data are always shuffled, each epoch in an order that follows from --seed"},
    {{"val-split", "validation-split", "test-size", "val-fraction", "val-ratio", "split"},
     "the last tenth validates; --validation-data takes another text"},
    {{"deterministic", "reproducible"}, "it is, with --reduce exact, which is the default"},
    {{"overwrite", "overwrite-output-dir", "force", "f"},
     "nothing is overwritten: give another --out, or remove the old directory yourself"},
};

const OtherNames kCommands[] = {
    {{"sample"}, {"generate", "generation", "gen", "infer", "inference", "run", "complete"}},
    {{"chat"}, {"talk", "converse", "conversation", "interactive", "repl"}},
    {{"eval"}, {"evaluate", "evaluation", "test", "perplexity", "ppl", "validate"}},
    {{"inspect"}, {"info", "show", "list", "summary", "dump"}},
    {{"verify"}, {"check", "fsck", "validate"}},
    {{"tokenize"}, {"tokenise", "tokens", "prepare", "preprocess", "encode"}},
    {{"compress"}, {"quantize", "quantise", "quantization"}},
    {{"bench"}, {"benchmark", "speed", "profile"}},
    {{"doctor"}, {"diagnose", "check", "env", "health"}},
};

constexpr std::string_view kTrains =
    "training has no name: cllm-dist with options, and no command, trains";
const Reason kCommandReasons[] = {
    {{"train", "training", "pretrain", "fit", "finetune", "fine-tune"}, kTrains},
    {{"resume", "continue"}, "an option goes on with a run: --resume DIR"},
    {{"version"}, "it is an option: --version"},
    {{"help"}, "it is an option: --help"},
};

bool has(const auto& names, std::string_view name) {
  return std::ranges::find(names, name) != std::ranges::end(names);
}

/// Names are written with dashes and in lower case here.
std::string normal(std::string_view name) {
  std::string text(name);
  for (char& c : text) {
    c = c == '_' || c == '.' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return text;
}

/// What the tables say of a name; empty where nothing.
std::string known_elsewhere(std::string_view name, const std::vector<std::string>& known,
                            std::string_view dashes, std::span<const OtherNames> other_names,
                            std::span<const Reason> reasons) {
  const std::string text = normal(name);
  if (has(known, text)) return fmt::format("; it is written {}{} here", dashes, text);
  for (const OtherNames& names : other_names) {
    if (!has(names.there, text)) continue;
    for (const std::string_view here : names.here) {
      if (has(known, here)) return fmt::format("; it is called {}{} here", dashes, here);
    }
  }
  for (const Reason& reason : reasons) {
    if (has(reason.names, text)) return fmt::format("; {}", reason.why);
  }
  return {};
}

std::string advice(std::string_view name, const std::vector<std::string>& known,
                   std::string_view dashes, std::span<const OtherNames> other_names,
                   std::span<const Reason> reasons) {
  const std::string elsewhere = known_elsewhere(name, known, dashes, other_names, reasons);
  if (!elsewhere.empty()) return elsewhere;
  const std::string_view near = nearest(name, known);
  return near.empty() ? "" : fmt::format("; did you mean {}{}?", dashes, near);
}

/// Levenshtein's distance: insertions, deletions and replacements.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest(std::string_view name, const std::vector<std::string>& known) {
  const std::string* best = nullptr;
  std::size_t fewest = std::max<std::size_t>(2, name.size() / 3) + 1;  // further is no typing error
  for (const std::string& candidate : known) {
    const std::size_t edits = edit_distance(name, candidate);
    if (edits < fewest) {
      fewest = edits;
      best = &candidate;
    }
  }
  return best == nullptr ? std::string_view{} : std::string_view(*best);
}

std::string option_advice(std::string_view name, const std::vector<std::string>& known,
                          std::string_view dashes) {
  return advice(name, known, dashes, kOptions, kReasons);
}

std::string command_advice(std::string_view name, const std::vector<std::string>& known) {
  return advice(name, known, "", kCommands, kCommandReasons);
}

}  // namespace cllm::cli
