"""Compares training steps of cllm-dist with those of PyTorch on this machine.

    tests/bench/setup_peers.sh DIR           once: the newest PyTorch into DIR
    tests/bench/compare.sh --venv DIR        a release build against it and against Debian's PyTorch

In each round and for each configuration it runs, one after another and in an order that rotates
from round to round: cllm-dist bench, PyTorch 1.13, the newest PyTorch, and the same compiled by
torch.compile (torch_gpt.py). It prints medians over the rounds in tokens/s, how many times as fast
cllm-dist is as each peer, and which share of this machine's sgemm cllm-dist reached. A peer that
isn't there is skipped.

All have the same number of threads. Variables of the environment that set threads or processor
types are removed first. Debian's OpenBLAS 0.3.21 doesn't know newer processors and takes its
slowest kernels for them; cllm-dist mends that for itself, so here OPENBLAS_CORETYPE is set for
PyTorch 1.13 where a test shows that it is faster with it.

Others on the machine spoil a measurement: "busy" is how many processors were busy in the half
second before a run, "others" how many other processes used during it. Both should be near 0.
"""
import argparse
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
TORCH_GPT = HERE / "torch_gpt.py"

# Steps for at least 10 seconds a run on two cores of 2023 (AVX-512). Of `ours`, options of our side
# alone: larger micro-batches than its defaults, which leave micro-batches for more ranks than there are here.
CONFIGURATIONS = {
    "124m-4x64": dict(
        preset="gpt2-124m", vocabulary=50257, batch=4, context=64, steps=12, warmup=2
    ),
    "124m-2x1024": dict(
        preset="gpt2-124m", vocabulary=50257, batch=2, context=1024, steps=3, warmup=1
    ),
    "medium-8x256": dict(
        preset="medium", vocabulary=4096, batch=8, context=256, steps=16, warmup=2,
        ours={"micro-batch": 4},
    ),
    "mini-12x64": dict(
        preset="mini", vocabulary=256, batch=12, context=64, steps=350, warmup=20,
        ours={"micro-batch": 6},
    ),
}
SHAPES = {
    "gpt2-124m": dict(layers=12, heads=12, channels=768),
    "medium": dict(layers=6, heads=6, channels=384),
    "mini": dict(layers=4, heads=4, channels=128),
}
REMOVED = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "DNNL_", "LD_PRELOAD")
OURS = "cllm-dist"
# A product this wrong is no product: OpenBLAS has kernels that fail on processors not their own.
LARGEST_ERROR = 1e-4


class Failed(Exception):
    pass


def busy_jiffies():
    """Time that the processors of this machine spent working, in seconds."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def busy_processors(seconds=0.5):
    before, start = busy_jiffies(), time.monotonic()
    time.sleep(seconds)
    return (busy_jiffies() - before) / (time.monotonic() - start)


def run(command, variables, threads):
    """What the command printed as JSON, with what it and others used of the machine."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(REMOVED)}
    environment |= {"OMP_NUM_THREADS": str(threads), **variables}
    load = os.getloadavg()[0]
    busy = busy_processors()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        before, start = busy_jiffies(), time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        others = (busy_jiffies() - before - usage.ru_utime - usage.ru_stime) / seconds
        output.seek(0)
        errors.seek(0)
        text, complaints = output.read(), errors.read().strip()
    if process.returncode != 0:
        last = "\n    ".join(complaints.splitlines()[-5:]) or "it said nothing"
        raise Failed(f"exit code {process.returncode}: {shlex.join(command)}\n    {last}")
    try:
        result = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        raise Failed(f"no JSON object came from {shlex.join(command)}: {text[:300]!r}") from None
    return result | dict(
        command=shlex.join(command),
        variables=variables | {"OMP_NUM_THREADS": str(threads)},
        load_before=load,
        busy_before=busy,
        others_during=max(0.0, others),
        run_seconds=seconds,
    )


class Side:
    """One of those that are compared: name, what starts it, and its environment."""

    def __init__(self, name, command, variables=None, compiled=False):
        self.name, self.start, self.variables = name, command, variables or {}
        self.compiled = compiled

    def command(self, configuration, steps, threads):
        c = configuration
        options = dict(preset=c["preset"], **SHAPES[c["preset"]])
        options |= {name: c[name] for name in ("vocabulary", "batch", "context")}
        options |= dict(steps=steps, threads=threads)
        if self.name == OURS:
            options |= c.get("ours", {})
        else:
            options["warmup-steps"] = c["warmup"]
        command = [str(part) for part in self.start]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        return command + ["--compile"] * self.compiled + ["--json"]


def matmul(python, variables, threads):
    command = [str(python), str(TORCH_GPT), "--matmul", "2048", "--threads", str(threads), "--json"]
    result = run(command, variables, threads)
    if result["relative_error"] > LARGEST_ERROR:
        raise Failed(f"wrong products (error {result['relative_error']:.1e}) with {variables}")
    return result


def describe(variables):
    return " ".join(f"{name}={value}" for name, value in variables.items()) or "nothing set"


def best_variables(python, threads):
    """The environment in which this PyTorch multiplies fastest, and the results of all tests."""
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    candidates = [{}]
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= flags:
        candidates.append({"OPENBLAS_CORETYPE": "SkylakeX"})
    elif {"avx2", "fma"} <= flags:
        candidates.append({"OPENBLAS_CORETYPE": "Haswell"})
    best, results = None, []
    for variables in candidates:
        try:
            result = matmul(python, variables, threads)
        except Failed as failure:
            print(f"  {failure}")
            continue
        results.append(result)
        # A choice of one's own must be clearly better than that of the library.
        if best is None or result["best_gflops"] > 1.05 * best["best_gflops"]:
            best = result | dict(chosen=variables)
    return (best["chosen"] if best else {}), results


def report_matmul(name, results):
    for result in results:
        variables = {k: v for k, v in result["variables"].items() if k != "OMP_NUM_THREADS"}
        print(
            f"  {name}, {result['torch']}: {result['best_gflops']:.0f} GFLOP/s at 2048^3 at best, "
            f"{result['gflops']:.0f} in the median ({describe(variables)}; "
            f"busy {result['busy_before']:.2f})"
        )


def has_torch(python):
    if python is None or not Path(python).exists():
        return False
    return subprocess.run([str(python), "-c", "import torch"], capture_output=True).returncode == 0


def find_sides(options, tests):
    sides = [Side(OURS, [options.program, "bench"])]
    print(f"Matrix products, {options.threads} threads:")
    if has_torch(options.python113):
        variables, results = best_variables(options.python113, options.threads)
        tests += results
        report_matmul("torch 1.13", results)
        sides.append(Side("torch 1.13", [options.python113, TORCH_GPT], variables))
    else:
        print(f"  skipped: torch 1.13: {options.python113} has no PyTorch (Debian: python3-torch)")
    python = options.venv and options.venv / "bin/python"
    if has_torch(python):
        result = matmul(python, {}, options.threads)
        tests.append(result)
        report_matmul("torch new", [result])
        sides.append(Side("torch new", [python, TORCH_GPT]))
        # One process compiles: a pool of them would be counted as others.
        variables = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
        sides.append(Side("torch new, compiled", [python, TORCH_GPT], variables, compiled=True))
    else:
        where = f"{python} has no PyTorch" if python else "no --venv was given"
        print(f"  skipped: torch new, torch new compiled: {where} (setup_peers.sh makes one)")
    print("Environment:")
    for side in sides:
        print(f"  {side.name}: OMP_NUM_THREADS={options.threads} {describe(side.variables)}")
    return sides


def measure(sides, names, options, runs):
    failures = 0
    for number in range(options.rounds):
        for name in names:
            configuration = CONFIGURATIONS[name]
            steps = max(1, round(configuration["steps"] * options.steps_scale))
            first = number % len(sides)
            for side in sides[first:] + sides[:first]:
                command = side.command(configuration, steps, options.threads)
                try:
                    result = run(command, side.variables, options.threads)
                    if result.get("tokens_per_s", 0) <= 0:
                        raise Failed(f"no tokens_per_s came from {shlex.join(command)}")
                except Failed as failure:
                    failures += 1
                    print(f"round {number + 1}  {name:13} {side.name:20} failed: {failure}")
                    continue
                runs.append(dict(round=number + 1, configuration=name, side=side.name) | result)
                print(
                    f"round {number + 1}  {name:13} {side.name:20} "
                    f"{result['tokens_per_s']:9.1f} tokens/s   {result['run_seconds']:5.1f} s   "
                    f"load {result['load_before']:.2f}  busy {result['busy_before']:.2f}  "
                    f"others {result['others_during']:.2f}",
                    flush=True,
                )
    return failures


def summarise(runs):
    """One row for each configuration and side that ran, in the order in which they first did."""
    groups = {}
    for result in runs:
        groups.setdefault((result["configuration"], result["side"]), []).append(result)
    rows = []
    order = list(CONFIGURATIONS)
    for (name, side), results in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        rates = [result["tokens_per_s"] for result in results]
        row = dict(
            configuration=name,
            side=side,
            runs=len(rates),
            tokens_per_s=statistics.median(rates),
            lowest=min(rates),
            highest=max(rates),
            busy_before=max(result["busy_before"] for result in results),
            others_during=max(result["others_during"] for result in results),
        )
        for key in ("share_of_sgemm", "sgemm_gflops", "model_gflops"):
            values = [result[key] for result in results if result.get(key) is not None]
            if values:
                row[key] = statistics.median(values)
        rows.append(row)
    for row in rows:
        ours = [r for r in rows if r["side"] == OURS and r["configuration"] == row["configuration"]]
        if ours and row["side"] != OURS:
            row["ours_over_peer"] = ours[0]["tokens_per_s"] / row["tokens_per_s"]
    return rows


def print_table(rows):
    print(f"\n{'':14}{'':21}{'tokens/s':>10}{'lowest':>10}{'highest':>10}{'ours/peer':>11}"
          f"{'of sgemm':>10}{'busy':>7}{'others':>8}")
    previous = None
    for row in rows:
        name = row["configuration"] if row["configuration"] != previous else ""
        previous = row["configuration"]
        ratio = f"{row['ours_over_peer']:.2f}" if "ours_over_peer" in row else ""
        share = f"{100 * row['share_of_sgemm']:.0f} %" if "share_of_sgemm" in row else ""
        print(
            f"{name:14}{row['side']:21}{row['tokens_per_s']:10.1f}{row['lowest']:10.1f}"
            f"{row['highest']:10.1f}{ratio:>11}{share:>10}{row['busy_before']:7.2f}"
            f"{row['others_during']:8.2f}"
        )
    spoiled = [row for row in rows if max(row["busy_before"], row["others_during"]) > 0.2]
    if spoiled:
        print("\nOther processes were working meanwhile: measure again on an idle machine.")


def machine(options):
    model = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0]
    return dict(
        processor=model.strip(" \t:"),
        processors=len(os.sched_getaffinity(0)),
        system=platform.platform(),
        time=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        threads=options.threads,
        load=os.getloadavg(),
    )


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="compare.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--program", type=Path, default=PROJECT / "build/release/cllm-dist", metavar="PATH",
        help="cllm-dist (default: build/release/cllm-dist)")
    add("--python113", type=Path, default=Path("/usr/bin/python3"), metavar="PATH",
        help="a Python that has PyTorch 1.13 (default: /usr/bin/python3)")
    add("--venv", type=Path, metavar="DIR", help="what setup_peers.sh made")
    add("--rounds", type=int, default=3, metavar="N", help="default: 3")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
        help="of each side (default: one for each processor)")
    add("--only", choices=CONFIGURATIONS, action="append", metavar="CONFIG",
        help=f"one of {', '.join(CONFIGURATIONS)}; may be given several times (default: all)")
    add("--steps-scale", type=float, default=1.0, metavar="X", help="so many times the steps")
    add("--json", type=Path, metavar="FILE", help="write every result there")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1 or options.steps_scale <= 0:
        parser.error("--rounds, --threads and --steps-scale must be positive")
    if not os.access(options.program, os.X_OK) or options.program.is_dir():
        parser.error(f"{options.program} is no program: build it, or name it with --program")
    # Without a slash it would be looked for in PATH.
    options.program = options.program.absolute()
    return options


def main():
    options = parse(sys.argv[1:])
    # Being ended is like being interrupted: what was started ends too, and results are kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts, tests, runs, failures = machine(options), [], [], 0
    print(f"{facts['processor']}, {facts['processors']} processors, {facts['time']}, "
          f"load {facts['load'][0]:.2f}")
    try:
        sides = find_sides(options, tests)
        print(flush=True)
        failures = measure(sides, options.only or list(CONFIGURATIONS), options, runs)
    except KeyboardInterrupt:
        print("\ninterrupted; what there is:")
        failures = 1
    rows = summarise(runs)
    print_table(rows)
    if options.json:
        result = dict(machine=facts, matmul=tests, runs=runs, table=rows)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
