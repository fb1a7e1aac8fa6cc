"""Prints what tests/gpu/run.sh bench measured as one Markdown table beside Table 1 of the paper: table.py RESULTS_FOLDER."""
import json
import sys
from pathlib import Path

PAPER = {"unet": ("UNet", "28M"), "unetr_b": ("UNETR Base", "113M"), "unetr_l": ("UNETR Large", "334M"), "unetr_h": ("UNETR Huge", "665M"),
         "vimunet_t": ("ViM-UNet Tiny", "18M"), "vimunet_s": ("ViM-UNet Small", "39M")}
PRECISIONS = ["f32", "tf32", "f16", "bf16"]
PEERS = ["torch-eager", "torch-compile", "torch-graphs"]


def read(folder):
    """{(network, height, width, precision): {engine: result}}"""
    runs = {}
    for path in sorted(folder.glob("bench-*.out")):
        lines = [line for line in path.read_text().splitlines() if line.startswith("{")]
        if not lines:
            sys.exit(f"table.py: {path.name} has no result")
        r = json.loads(lines[-1])
        runs.setdefault((r["network"], r["height"], r["width"], r["precision"]), {})[r["engine"]] = r
    return runs


def peer_cell(ours, peer):
    """Milliseconds, and how many times ours; the second of two numbers leaves copies to and from the GPU out."""
    if not peer:
        return ""
    ratio = f" ({peer['median_ms'] / ours['median_ms']:.2f}x)" if ours else ""
    return f"{peer['median_ms']:.2f}{ratio}"


def row(key, engines):
    network, height, width, precision = key
    ours = engines.get("bioseg")
    name, parameters = PAPER[network]
    peers = [engines.get(p) for p in PEERS]
    memory = min((p["memory_mib"] for p in peers if p and "memory_mib" in p), default=None)
    device = min((p["device_ms"] for p in peers if p), default=None)
    difference = max((p["difference"] for p in peers if p and "difference" in p), default=None)
    cells = [name, parameters, f"{height} x {width}", precision, f"{ours['median_ms']:.2f}" if ours else "",
             f"{ours['gflop'] / ours['median_ms']:.1f}" if ours else "", *(peer_cell(ours, p) for p in peers),
             f"{device:.2f}" if device else "", f"{ours['memory_mib']:.0f}" if ours else "", f"{memory:.0f}" if memory else "",
             f"{difference:.1e}" if difference is not None else ""]
    return "| " + " | ".join(cells) + " |"


def order(key):
    network, height, width, precision = key
    return list(PAPER).index(network), height * width, PRECISIONS.index(precision)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: table.py RESULTS_FOLDER")
    runs = read(Path(sys.argv[1]))
    if not runs:
        sys.exit("table.py: nothing has been measured yet: tests/gpu/run.sh bench")
    everything = [r for engines in runs.values() for r in engines.values()]
    said = {field: sorted({r[field] for r in everything if r.get(field)}) for field in ("device", "libraries")}
    print(f"{', '.join(said['device'])}; {', '.join(said['libraries'])}. Milliseconds for one image, from float32 in the host's memory to "
          "float32 in the host's memory, medians; in brackets, how many times ours. \"On the GPU\" is the fastest PyTorch without the copies. "
          "Memory: arena and weights, against what PyTorch reserved at most. Difference: of probabilities, the largest.\n")
    head = ["model", "Table 1", "input", "type", "bioseg", "TFLOP/s", "PyTorch", "compiled", "with CUDA graphs", "on the GPU", "MiB", "PyTorch MiB",
            "difference"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for key in sorted(runs, key=order):
        print(row(key, runs[key]))


if __name__ == "__main__":
    main()
