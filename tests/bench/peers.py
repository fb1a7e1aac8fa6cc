"""Times the 64-feature U-Net in bioseg, PyTorch, ONNX Runtime and OpenVINO side by side.

Every engine is a process of its own with the same weights (the formula rule), the same image and the same number of threads; all
are alive at once and run one image in turn, round after round, so that whatever else the machine does falls on all of them.
Reported: the smallest time, the median of the ratio to bioseg within a round, memory (VmHWM after loading the model and running
one image, minus VmHWM after loading the libraries), and the largest difference of the output to bioseg's.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SEED = 1
PEERS = {
    "f32": ["torch-eager", "torch-channels-last", "torch-compile", "onnxruntime", "openvino"],
    "bf16": ["torch-eager", "torch-channels-last", "torch-compile", "openvino"],
}


def peak_mib():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


# The formula rule: tests/support/formula.h.


def uniform(name, count, start=0):
    import numpy as np

    k = np.uint64(0x9E3779B97F4A7C15)
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    key = np.uint64(h ^ (SEED * int(k)) % 2**64)
    with np.errstate(over="ignore"):
        z = key + np.arange(start, start + count, dtype=np.uint64) + k
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-24


def formula_weights(name, shape):
    import numpy as np

    if name.endswith("bias"):
        scale = 0.1
    else:
        fan_in = shape[1] * shape[2] * shape[3]
        scale = np.sqrt((6.0 if shape[2] == 3 else 3.0) / fan_in)
    count = int(np.prod(shape))
    return ((2 * uniform(name, count) - 1) * scale).astype(np.float32).reshape(shape)


def formula_image(size):
    import numpy as np

    cells = size // 32 + 2
    lattice = np.stack([uniform("image.lattice.0", cells, j * 65536) for j in range(cells)])
    i = np.arange(size)
    f = (i % 32) / 32.0
    s = (f * f) * (3 - 2 * f)
    g = i // 32
    v = lattice[g][:, g], lattice[g][:, g + 1], lattice[g + 1][:, g], lattice[g + 1][:, g + 1]
    a = v[0] + s[None, :] * (v[1] - v[0])
    b = v[2] + s[None, :] * (v[3] - v[2])
    noise = uniform("image.noise.0", size * size).reshape(size, size)
    value = 4 * (a + s[:, None] * (b - a)) - 2 + 0.5 * (2 * noise - 1)
    return value.astype(np.float32)[None, None]


# The network, with the reference's parameter names.


def make_unet(features=64, depth=4, outputs=2):
    import torch
    from torch import nn

    def block(cin, cout):
        return nn.ModuleDict({"block": nn.Sequential(
            nn.InstanceNorm2d(cin), nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(inplace=True),
            nn.InstanceNorm2d(cout), nn.Conv2d(cout, cout, 3, padding=1), nn.ReLU(inplace=True))})

    width = [features * 2**i for i in range(depth + 1)]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            down = [block(a, b) for a, b in zip([1] + width, width[:depth])]
            up = list(zip(width[::-1], width[::-1][1:]))
            self.encoder = nn.ModuleDict({"blocks": nn.ModuleList(down)})
            self.base = block(width[-2], width[-1])
            self.decoder = nn.ModuleDict({
                "blocks": nn.ModuleList([block(a, b) for a, b in up]),
                "samplers": nn.ModuleList([nn.ModuleDict({"conv": nn.Conv2d(a, b, 1)}) for a, b in up])})
            self.out_conv = nn.Conv2d(features, outputs, 1)

        def forward(self, x):
            skips = []
            for level in self.encoder["blocks"]:
                x = level["block"](x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.base["block"](x)
            for sampler, level in zip(self.decoder["samplers"], self.decoder["blocks"]):
                x = sampler["conv"](nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
                x = level["block"](torch.cat([x, skips.pop()], 1))
            return torch.sigmoid(self.out_conv(x))

    return Net().eval()


def prepare(folder, size):
    """Writes the weights, the image and the ONNX model."""
    import numpy as np
    import torch

    net = make_unet()
    if not (folder / "unet.pt").exists():
        state = {k: torch.from_numpy(formula_weights(k, tuple(v.shape))) for k, v in net.state_dict().items()}
        torch.save(state, folder / "unet.pt")
    net.load_state_dict(torch.load(folder / "unet.pt"))
    image = formula_image(size)
    np.save(folder / f"image{size}.npy", image)
    path = folder / f"unet{size}.onnx"
    if not path.exists():
        with torch.no_grad():
            torch.onnx.export(net, (torch.from_numpy(image),), str(path), dynamo=False, opset_version=17)


# One engine in a process of its own: a line in, one run, milliseconds out.


def engine(kind, precision, size, threads, folder):
    import numpy as np

    image = np.load(folder / f"image{size}.npy")
    if kind.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
        if kind == "torch-compile":
            import torch._inductor.config  # noqa: F401 (part of the libraries)
        loaded = peak_mib()
        net = make_unet()
        net.load_state_dict(torch.load(folder / "unet.pt"))
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        layout = torch.contiguous_format if kind == "torch-eager" else torch.channels_last
        net = net.to(dtype=dtype, memory_format=layout)
        x = torch.from_numpy(image).to(dtype=dtype, memory_format=layout)
        if kind == "torch-compile":
            net = torch.compile(net)

        def run():
            with torch.inference_mode():
                return net(x).float().numpy()

        return loaded, run
    if kind == "onnxruntime":
        import onnxruntime as ort

        loaded = peak_mib()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(str(folder / f"unet{size}.onnx"), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return loaded, lambda: session.run(None, {name: image})[0]
    import openvino as ov

    core = ov.Core()
    loaded = peak_mib()
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    model = core.compile_model(core.read_model(str(folder / f"unet{size}.onnx")), "CPU", config)
    request = model.create_infer_request()
    return loaded, lambda: request.infer([image])[0]


def serve(kind, precision, size, threads, folder):
    import numpy as np

    loaded, run = engine(kind, precision, size, threads, folder)
    result = run()
    memory = peak_mib() - loaded
    np.asarray(result, dtype=np.float32).tofile(folder / f"out-{kind}-{precision}-{size}.raw")
    print(json.dumps({"memory": memory}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(f"{(time.perf_counter() - start) * 1e3:.2f} ms", flush=True)


# The driver.


class Child:
    def __init__(self, name, command, environment):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment)
        self.times = []
        self.memory = None

    def ready(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self.memory = json.loads(line)["memory"]
                return True
            if line.startswith("memory:"):
                self.memory = float(line.split("one run: ")[1].split(": ")[-1].split(" MiB")[0])
                return True
        self.process.wait()
        print(f"  {self.name}: left out: {self.process.stderr.read().strip().splitlines()[-1:]}", file=sys.stderr)
        return False

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"{self.name} ended")
            if line.endswith(" ms\n"):
                self.times.append(float(line.split()[0]))
                return

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def compare(options, size, precision, folder):
    import numpy as np

    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
    ours = folder / f"out-bioseg-{precision}-{size}.raw"
    commands = {"bioseg": [options.bench, "--interactive", "--size", str(size), "--precision", precision, "--threads",
                           str(options.threads), "--save", str(ours)]}
    for kind in PEERS[precision]:
        if not options.only or kind in options.only:
            commands[kind] = [sys.executable, __file__, "--worker", kind, "--size", str(size), "--precision", precision,
                              "--threads", str(options.threads), "--folder", str(folder)]
    children = []
    for name, command in commands.items():  # one after another: memory and start-up do not disturb each other
        child = Child(name, command, environment)
        if child.ready():
            children.append(child)
    for _ in range(options.rounds):
        for child in children:
            child.run()
    for child in children:
        child.stop()
    reference = np.fromfile(ours, dtype=np.float32)
    rows = []
    for child in children:
        raw = ours if child.name == "bioseg" else folder / f"out-{child.name}-{precision}-{size}.raw"
        ratios = [a / b for a, b in zip(child.times, children[0].times)]
        rows.append({"size": size, "precision": precision, "engine": child.name, "ms": min(child.times),
                     "min_ratio": min(child.times) / min(children[0].times), "median_ratio": statistics.median(ratios),
                     "memory": child.memory, "memory_ratio": children[0].memory / child.memory,
                     "difference": float(np.abs(np.fromfile(raw, dtype=np.float32) - reference).max())})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", help="bench_unet")
    parser.add_argument("--folder", type=Path, required=True, help="where models and outputs are kept")
    parser.add_argument("--size", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--precision", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="these peers only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.worker:
        serve(options.worker, options.precision[0], options.size[0], options.threads, options.folder)
        return
    if options.prepare:
        prepare(options.folder, options.size[0])
        return
    rows = []
    print(f"U-Net, 64 features, depth 4, {options.threads} threads, {options.rounds} rounds")
    print(f"{'size':>5} {'type':>5} {'engine':<20} {'min ms':>9} {'x of min':>9} {'x median':>9} {'MiB':>8} {'ours/it':>8} {'max diff':>9}")
    for size in options.size:
        subprocess.run([sys.executable, __file__, "--prepare", "--size", str(size), "--folder", str(options.folder)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for precision in options.precision:
            for r in compare(options, size, precision, options.folder):
                rows.append(r)
                print(f"{r['size']:>5} {r['precision']:>5} {r['engine']:<20} {r['ms']:>9.1f} {r['min_ratio']:>9.2f} "
                      f"{r['median_ratio']:>9.2f} {r['memory']:>8.0f} {r['memory_ratio']:>8.2f} {r['difference']:>9.1e}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
