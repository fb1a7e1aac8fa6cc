"""Times a network in PyTorch on a GPU as bench_device times ours: formula weights, from float32 in the host's memory to float32
in the host's memory, one JSON object a line.

The networks are those of tests/bench/networks.py, channels last, in the type that is asked for (f32: without TF32); ViM-UNet scans
with triton_scan.py. "device_ms" leaves the copies to and from the GPU out, which bioseg's times always have.
    peers.py --network unet --height 528 --width 704 --precision bf16 --engine torch-compile [--against OURS.raw]
Engines: torch-eager, torch-compile, torch-graphs (compiled, with CUDA graphs).
--device cpu runs eagerly with the plain loop as scan, for a look at the program where no GPU is.
"""
import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
import networks  # noqa: E402

ENGINES = {"torch-eager": None, "torch-compile": "default", "torch-graphs": "reduce-overhead"}
PRECISIONS = {"f32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def prepare(options):
    """The network on the device, and the image on the host."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    scan = networks.looping_scan
    if options.device != "cpu" and options.network.startswith("vimunet"):
        import triton_scan

        difference = triton_scan.check(options.device)
        print(f"Triton scan: within {difference:.2g} of the plain loop", file=sys.stderr)
        scan = triton_scan.scan
    state = None
    if options.weights and options.weights.exists():
        state = torch.load(options.weights, mmap=True)
    net = networks.make(options.network, scan, state)
    if options.weights and not options.weights.exists():
        part = options.weights.with_suffix(".part")
        torch.save(net.state_dict(), part)
        part.rename(options.weights)
    net = net.to(device=options.device, dtype=PRECISIONS[options.precision], memory_format=torch.channels_last)
    if ENGINES[options.engine]:
        net = torch.compile(net, mode=ENGINES[options.engine])
    image = torch.from_numpy(networks.formula_image((options.height, options.width), net.channels))
    return net, image


def measure(net, image, options):
    """Times in ms, and the output."""
    cuda = options.device != "cpu"
    dtype = PRECISIONS[options.precision]
    host = image.pin_memory() if cuda else image

    def wait():
        if cuda:
            torch.cuda.synchronize()

    def brought():
        return host.to(options.device, non_blocking=True).to(dtype=dtype, memory_format=torch.channels_last)

    out = None

    def run():
        nonlocal out
        y = net(brought()).float()
        if out is None:
            out = torch.empty(y.shape, dtype=torch.float32, pin_memory=cuda)
        out.copy_(y, non_blocking=True)
        wait()

    with torch.inference_mode():
        start = time.perf_counter()
        run()
        first = (time.perf_counter() - start) * 1e3
        for _ in range(options.warmup):
            run()
        whole, device = [], []
        for _ in range(options.repeat):
            start = time.perf_counter()
            run()
            whole.append((time.perf_counter() - start) * 1e3)
        x = brought()
        for _ in range(options.repeat):
            wait()
            start = time.perf_counter()
            net(x)
            wait()
            device.append((time.perf_counter() - start) * 1e3)
    return first, whole, device, out.numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", required=True, choices=["unet", "vimunet_t", "vimunet_s", *networks.SAM])
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--precision", default="f32", choices=list(PRECISIONS))
    parser.add_argument("--engine", default="torch-eager", choices=list(ENGINES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--weights", type=Path, help="where formula weights are kept between runs")
    parser.add_argument("--against", type=Path, help="what bench_device saved: the largest difference is reported")
    options = parser.parse_args()
    if options.device == "cpu" and options.engine != "torch-eager":
        parser.error("--device cpu runs torch-eager alone")
    if options.device != "cpu" and not torch.cuda.is_available():
        sys.exit("peers.py: PyTorch sees no GPU here")
    net, image = prepare(options)
    first, whole, device, out = measure(net, image, options)
    result = {"engine": options.engine, "network": options.network, "height": options.height, "width": options.width, "batch": 1,
              "precision": options.precision, "libraries": f"PyTorch {torch.__version__}", "repeat": options.repeat, "first_ms": first,
              "median_ms": statistics.median(whole), "min_ms": min(whole), "device_ms": statistics.median(device)}
    if options.device != "cpu":
        result["device"] = torch.cuda.get_device_name()
        result["memory_mib"] = torch.cuda.max_memory_reserved() / 2**20
    if options.against:
        ours = np.fromfile(options.against, dtype=np.float32).reshape(out.shape)
        result["difference"] = float(np.abs(out - ours).max())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
