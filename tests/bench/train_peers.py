"""Times a training step of the U-Net in bioseg and in PyTorch side by side; that of ViM-UNet, which nothing else trains on a CPU,
beside its own forward is bench_train's.

A step is forward, Dice loss, backward and Adam on the same batch from the same formula weights, with the same number of threads. As
in peers.py every engine is a process of its own, all are alive at once and make one step in turn. Reported: the smallest time of the
clock and of the processor (divided by the threads; what a busy machine disturbs less), ratios to bioseg, memory (VmHWM after one
step, Adam's moments included, minus VmHWM after loading the libraries), and the loss after the last round, which shows that all
train alike.
"""
import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

from peers import Child, peak_mib

PEERS = ["torch-eager", "torch-channels-last", "torch-compile", "torch-compile-channels-last"]
RATE = 1e-4


def batch(network, size, samples):
    """Images and targets as bench_train has them."""
    import networks
    import numpy as np

    first, images = networks.SEED, []
    for i in range(samples):
        networks.SEED = first + i
        images.append(networks.formula_image(size, network.channels))
    networks.SEED = first
    target = np.arange(samples * 2 * size * size, dtype=np.int64) // 64 % 2
    return np.concatenate(images), target.astype(np.float32).reshape(samples, 2, size, size)


def dice_loss(probability, target):
    p, t = (v.transpose(0, 1).flatten(1) for v in (probability, target))
    return (1 - 2 * (p * t).sum(1) / ((p * p).sum(1) + (t * t).sum(1)).clamp(min=1e-7)).sum()


def worker(kind, size, samples, threads):
    import networks
    import torch

    torch.set_num_threads(threads)
    compiled = kind.startswith("torch-compile")
    if compiled:
        import torch._inductor.config  # noqa: F401 (part of the libraries)
    loaded = peak_mib()
    net = networks.UNet()
    net.load_state_dict(networks.formula_state(net))
    layout = torch.channels_last if kind.endswith("channels-last") else torch.contiguous_format
    net = net.to(memory_format=layout).train()
    image, target = (torch.from_numpy(v).to(memory_format=layout) for v in batch(net, size, samples))
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    run = torch.compile(net) if compiled else net

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = dice_loss(run(image), target)
        loss.backward()
        optimizer.step()
        return float(loss)

    step()
    print(json.dumps({"memory": peak_mib() - loaded}), flush=True)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        loss = step()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(f"{wall * 1e3:.2f} {processor * 1e3 / threads:.2f} {loss:.6f} ms", flush=True)


class Stepping(Child):
    """Its process answers with the clock's and the processor's milliseconds and the loss."""

    def __init__(self, *args):
        super().__init__(*args)
        self.processor = []
        self.loss = None

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.endswith(" ms\n"):
                wall, processor, loss = (float(v) for v in line.split()[:3])
                self.times.append(wall)
                self.processor.append(processor)
                self.loss = loss
                return
        raise RuntimeError(f"{self.name} ended")


def compare(options):
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
    sizes = ["--size", str(options.size), "--batch", str(options.batch), "--threads", str(options.threads)]
    commands = {"bioseg": [options.bench, "--network", "unet", "--interactive", *sizes]}
    for kind in options.only or PEERS:
        commands[kind] = [sys.executable, __file__, "--worker", kind, *sizes]
    children = []
    for name, command in commands.items():  # one after another: memory and start-up do not disturb each other
        child = Stepping(name, command, environment)
        if child.ready():
            children.append(child)
    for _ in range(options.rounds):
        for child in children:
            child.run()
    for child in children:
        child.stop()
    ours = children[0]
    return [{"engine": child.name, "ms": min(child.times), "min_ratio": min(child.times) / min(ours.times),
             "median_ratio": statistics.median(a / b for a, b in zip(child.times, ours.times)),
             "processor_ms": min(child.processor), "processor_ratio": min(child.processor) / min(ours.processor),
             "memory": child.memory, "memory_ratio": ours.memory / child.memory, "loss": child.loss} for child in children]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", help="bench_train")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=PEERS, help="these peers only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.size, options.batch, options.threads)
        return
    print(f"training step of the U-Net, batch {options.batch}, {options.size}², f32, {options.threads} threads, {options.rounds} rounds")
    print(f"{'engine':<28} {'min ms':>9} {'x of min':>9} {'x median':>9} {'cpu ms':>9} {'x of cpu':>9} {'MiB':>8} {'ours/it':>8} {'loss':>9}")
    rows = compare(options)
    for r in rows:
        print(f"{r['engine']:<28} {r['ms']:>9.1f} {r['min_ratio']:>9.2f} {r['median_ratio']:>9.2f} {r['processor_ms']:>9.1f} "
              f"{r['processor_ratio']:>9.2f} {r['memory']:>8.0f} {r['memory_ratio']:>8.2f} {r['loss']:>9.6f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
