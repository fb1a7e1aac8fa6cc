"""Times a network in bioseg, PyTorch, ONNX Runtime and OpenVINO side by side.

Every engine is a process of its own with the same weights (the formula rule), the same image and the same number of threads; all
are alive at once and run one image in turn, round after round, so that whatever else the machine does falls on all of them.
Nothing but PyTorch runs a selective scan: ViM-UNet is compared with PyTorch that calls a scan in C++ (native_scan.py), and with
the loop over tensors that is the original's only way without its CUDA extension.
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

PEERS = {
    "f32": ["torch-eager", "torch-channels-last", "torch-compile", "onnxruntime", "openvino"],
    "bf16": ["torch-eager", "torch-channels-last", "torch-compile", "openvino"],
}
SCAN_PEERS = {"f32": ["torch-native-scan", "torch-loop-scan"], "bf16": ["torch-native-scan"]}
ROUNDS_OF_A_LOOP = 1  # minutes each


def peak_mib():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def peers_of(network, precision):
    return (SCAN_PEERS if network.startswith("vimunet") else PEERS)[precision]


def prepare(folder, network, size, export):
    """Writes the weights, the image and, where asked and the network can be exported, the ONNX model."""
    import networks
    import numpy as np
    import torch

    net = networks.make(network)
    if not (folder / f"{network}.pt").exists():
        torch.save(net.state_dict(), folder / f"{network}.pt")
    image = networks.formula_image(size, net.channels)
    np.save(folder / f"{network}-image{size}.npy", image)
    path = folder / f"{network}{size}.onnx"
    if export and not path.exists() and not network.startswith("vimunet"):
        with torch.no_grad():
            torch.onnx.export(net, (torch.from_numpy(image),), str(path), dynamo=False, opset_version=17)


# One engine in a process of its own: a line in, one run, milliseconds out.


def engine(network, kind, precision, size, threads, folder):
    import numpy as np

    image = np.load(folder / f"{network}-image{size}.npy")
    if kind.startswith("torch"):
        import networks
        import native_scan
        import torch

        torch.set_num_threads(threads)
        if kind == "torch-compile":
            import torch._inductor.config  # noqa: F401 (part of the libraries)
        loaded = peak_mib()
        scan = native_scan.native_scan() if kind == "torch-native-scan" else networks.looping_scan
        net = networks.make(network, scan, torch.load(folder / f"{network}.pt", mmap=True))
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        layout = torch.channels_last if kind in ("torch-channels-last", "torch-compile") else torch.contiguous_format
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
        session = ort.InferenceSession(str(folder / f"{network}{size}.onnx"), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return loaded, lambda: session.run(None, {name: image})[0]
    import openvino as ov

    core = ov.Core()
    loaded = peak_mib()
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    model = core.compile_model(core.read_model(str(folder / f"{network}{size}.onnx")), "CPU", config)
    request = model.create_infer_request()
    return loaded, lambda: request.infer([image])[0]


def serve(network, kind, precision, size, threads, folder):
    import numpy as np

    loaded, run = engine(network, kind, precision, size, threads, folder)
    result = run()
    memory = peak_mib() - loaded
    np.asarray(result, dtype=np.float32).tofile(folder / f"{network}-out-{kind}-{precision}-{size}.raw")
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


def memory_of(child, ours, network, size, precision):
    return {"network": network, "size": size, "precision": precision, "engine": child.name, "memory": child.memory,
            "memory_ratio": ours.memory / child.memory}


def compare(options, network, size, precision, folder):
    import numpy as np

    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
    ours = folder / f"{network}-out-bioseg-{precision}-{size}.raw"
    commands = {"bioseg": [options.bench, "--network", network, "--interactive", "--size", str(size), "--precision", precision, "--threads",
                           str(options.threads), "--save", str(ours)]}
    for kind in peers_of(network, precision):
        if not options.only or kind in options.only:
            commands[kind] = [sys.executable, __file__, "--worker", kind, "--network", network, "--size", str(size), "--precision", precision,
                              "--threads", str(options.threads), "--folder", str(folder)]
    children = []
    for name, command in commands.items():  # one after another: memory and start-up do not disturb each other
        child = Child(name, command, environment)
        if child.ready():
            children.append(child)
        if options.memory:
            child.stop()
    if options.memory:
        return [memory_of(child, children[0], network, size, precision) for child in children]
    for round in range(options.rounds):
        for child in children:
            if child.name != "torch-loop-scan" or round < ROUNDS_OF_A_LOOP:
                child.run()
    for child in children:
        child.stop()
    reference = np.fromfile(ours, dtype=np.float32)
    rows = []
    for child in children:
        raw = ours if child.name == "bioseg" else folder / f"{network}-out-{child.name}-{precision}-{size}.raw"
        ratios = [a / b for a, b in zip(child.times, children[0].times)]
        rows.append(memory_of(child, children[0], network, size, precision) |
                    {"ms": min(child.times), "min_ratio": min(child.times) / min(children[0].times),
                     "median_ratio": statistics.median(ratios),
                     "difference": float(np.abs(np.fromfile(raw, dtype=np.float32) - reference).max())})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", help="bench_model")
    parser.add_argument("--folder", type=Path, required=True, help="where models and outputs are kept")
    parser.add_argument("--network", nargs="+", default=["unet", "unetr_b", "vimunet_t"],
                        choices=["unet", "unetr_b", "unetr_l", "unetr_h", "vimunet_t", "vimunet_s"])
    parser.add_argument("--size", type=int, nargs="+", help="default: unet 512 and 1024, the others 1024")
    parser.add_argument("--precision", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="these peers only")
    parser.add_argument("--memory", action="store_true", help="memory alone: one engine at a time, no rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.worker:
        serve(options.network[0], options.worker, options.precision[0], options.size[0], options.threads, options.folder)
        return
    if options.prepare:
        prepare(options.folder, options.network[0], options.size[0], not options.memory)
        return
    rows = []
    print(f"formula weights, {options.threads} threads, {options.rounds} rounds")
    print(f"{'network':<10} {'size':>5} {'type':>5} {'engine':<20} {'min ms':>9} {'x of min':>9} {'x median':>9} {'MiB':>8} "
          f"{'ours/it':>8} {'max diff':>9}")
    for network in options.network:
        for size in options.size or ([512, 1024] if network == "unet" else [1024]):
            subprocess.run([sys.executable, __file__, "--prepare", "--network", network, "--size", str(size), "--folder",
                            str(options.folder), *(["--memory"] if options.memory else [])], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for precision in options.precision:
                for r in compare(options, network, size, precision, options.folder):
                    rows.append(r)
                    times = [f"{r[name]:>9{form}}" if name in r else f"{'':>9}"
                             for name, form in (("ms", ".1f"), ("min_ratio", ".2f"), ("median_ratio", ".2f"))]
                    difference = f"{r['difference']:>9.1e}" if "difference" in r else ""
                    print(f"{network:<10} {size:>5} {precision:>5} {r['engine']:<20} {' '.join(times)} {r['memory']:>8.0f} "
                          f"{r['memory_ratio']:>8.2f} {difference}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
