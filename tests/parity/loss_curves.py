#!/usr/bin/env python3
"""The loss of 200 training steps in bioseg beside PyTorch's, from the same weights with the same batches in the same order.

    tests/parity/loss_curves.py [--networks unet vimunet] [--seeds 1 2 3] [--direct] [--double] [--json FILE]

bin/loss_curve (loss_curve.c) draws the first weights and cuts the patches, without augmentation, from the CC0 images of
tests/fixtures/images, makes the run and writes everything down; PyTorch makes the same run twice, with one thread and with two.
Compared are running means over 20 steps: bioseg's may be off PyTorch's (one thread) by 1 %, or by twice what PyTorch's two runs have been
apart so far, where that is more. (So far: roundings grow with every step, and where two curves happen to cross they are no measure of it. The
last column is without that, with what they are apart at the same step.) Ends with 1 where that does not hold. --direct keeps
bioseg from Winograd's convolutions, which round more. --double makes a run in float64 as well and says how far each of the others is from it. The recipe is the publication's for distances (Dice of the foreground
and of both distances within it, Adam with 1e-4), with patches of 128 in batches of 2 and networks that are small.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BS_BUILD", ROOT / "build")) / "bin"
IMAGES = ROOT / "tests" / "fixtures" / "images"
STEPS, MEAN, PATCH, BATCH, RATE = 200, 20, 128, 2, 1e-4
LEAST_ALLOWED = 0.01
# Threads that wait for each other in a loop take minutes for a second's work where others compute, too.
PATIENT = os.environ | {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
FEATURES = 16
WIDTH, LAYERS = 64, 4

DECODER = {"out_channels": 3, "initial_features": FEATURES, "upsampling": "bilinear", "final_activation": "Sigmoid"}
ARCHITECTURES = {
    "unet": {"in_channels": 1, "out_channels": 3, "depth": 4, "initial_features": FEATURES, "norm": "InstanceNorm",
             "upsampling": "bilinear", "final_activation": "Sigmoid"},
    "vimunet": {"in_channels": 1, "image_size": PATCH, "patch_size": 16, "embed_dim": WIDTH, "depth": LAYERS,
                "inner_features": 2 * WIDTH, "state_size": 16, "dt_rank": WIDTH // 16, "conv_kernel": 4, "head_classes": 0,
                "class_token": "middle", "rotary": False, "divide_by_directions": True, "decoder": DECODER}}


def configuration(network, seed):
    return {"format": 1, "architecture": network, network: ARCHITECTURES[network], "recipe": "distances", "batch": BATCH,
            "optimizer": {"kind": "adam", "learning_rate": RATE}, "iterations": STEPS, "validate_every": STEPS, "seed": seed,
            "sample": {"height": PATCH, "width": PATCH, "flips": False, "quarter_turns": False}}


def bioseg(network, seed, folder, direct):
    """Losses of the run; initial.safetensors, images.f32 and targets.f32 are in the folder afterwards."""
    (folder / "config.json").write_text(json.dumps(configuration(network, seed)))
    done = subprocess.run([BIN / "loss_curve", folder / "data", folder / "config.json", folder] + (["0", "direct"] if direct else []),
                          capture_output=True, text=True, env=PATIENT)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return np.array([float(line) for line in done.stdout.split()])


def read_safetensors(path):
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    kinds = {"F32": "<f4", "I64": "<i8"}
    return {name: np.frombuffer(raw[8 + size + e["data_offsets"][0]:8 + size + e["data_offsets"][1]],
                                kinds[e["dtype"]]).reshape(e["shape"]) for name, e in header.items()}


# The same run in PyTorch, in a process of its own.


def dice(p, t):
    """1 - 2 sum(p t) / (sum p^2 + sum t^2) over all pixels of the batch (Milletari et al. 2016)."""
    return 1 - 2 * (p * t).sum() / ((p * p).sum() + (t * t).sum()).clamp(min=1e-7)


def distance_loss(p, t):
    inside = t[:, :1]
    return dice(p[:, :1], inside) + dice(p[:, 1:2] * inside, t[:, 1:2] * inside) + dice(p[:, 2:] * inside, t[:, 2:] * inside)


def network_of(name):
    sys.path.insert(0, str(ROOT / "tests" / "bench"))
    import networks
    import torch

    if name == "unet":
        return networks.UNet(FEATURES, 4, 3)
    encoder = networks.VimEncoder(networks.looping_scan, PATCH, WIDTH, LAYERS)
    encoder.patch_embed.proj = torch.nn.Conv2d(1, WIDTH, 16, stride=16)
    return networks.TransformerUNet(encoder, WIDTH, 3, FEATURES)


def pytorch(name, folder, threads, dtype):
    import torch

    torch.set_num_threads(threads)
    torch.set_default_dtype(getattr(torch, dtype))
    net = network_of(name).train()
    net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in read_safetensors(folder / "initial.safetensors").items()})
    images = np.memmap(folder / "images.f32", "<f4", "r", shape=(STEPS, BATCH, 1, PATCH, PATCH))
    targets = np.memmap(folder / "targets.f32", "<f4", "r", shape=(STEPS, BATCH, 3, PATCH, PATCH))
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    for image, target in zip(images, targets):
        optimizer.zero_grad()
        loss = distance_loss(net(torch.from_numpy(image.astype(dtype))), torch.from_numpy(target.astype(dtype)))
        loss.backward()
        optimizer.step()
        print(f"{loss.item():.9g}")


def peer(name, folder, threads, dtype="float32"):
    done = subprocess.run([sys.executable, __file__, "--peer", name, str(folder), str(threads), dtype], capture_output=True,
                          text=True, env=PATIENT)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return np.array([float(line) for line in done.stdout.split()])


def running(losses):
    if len(losses) != STEPS:
        sys.exit(f"{len(losses)} losses instead of {STEPS}")
    return np.convolve(losses, np.ones(MEAN) / MEAN, "valid")


def compare(network, seed, scratch, direct, double):
    folder = pathlib.Path(scratch)
    ours = bioseg(network, seed, folder, direct)
    one, two = peer(network, folder, 1), peer(network, folder, 2)
    a, b, c = running(ours), running(one), running(two)
    apart, gap = np.abs(a - b) / b, np.abs(c - b) / b
    allowed, at_once = (np.maximum(LEAST_ALLOWED, 2 * g) for g in (np.maximum.accumulate(gap), gap))
    row = {"network": network, "seed": seed, "of_allowed": (apart / allowed).max(), "ours": ours.tolist(), "torch_1": one.tolist(),
           "torch_2": two.tolist()}
    print(f"| {network} | {seed} | {abs(ours[0] - one[0]) / one[0]:.1e} | {b[0]:.4f} to {b[-1]:.4f} | {100 * apart.max():.2f} % | "
          f"{100 * gap.max():.2f} % | {row['of_allowed']:.2f} {'ok' if row['of_allowed'] <= 1 else 'TOO FAR'} | "
          f"{(apart / at_once).max():.2f} |", flush=True)
    if double:
        d = running(peer(network, folder, 2, "float64"))
        print("  off float64, most: " + ", ".join(f"{name} {100 * (np.abs(v - d) / d).max():.2f} %" for name, v in
                                                  (("bioseg", a), ("PyTorch", b), ("PyTorch, two threads", c))), flush=True)
    return row


def main():
    if sys.argv[1:2] == ["--peer"]:
        return pytorch(sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--direct", action="store_true", help="bioseg without Winograd's convolutions")
    parser.add_argument("--double", action="store_true", help="a run in float64, too")
    parser.add_argument("--json", type=pathlib.Path, help="where all losses are written")
    a = parser.parse_args()
    rows = []
    print("| network | seed | first loss, apart | running mean, PyTorch | bioseg apart, most | PyTorch's two runs apart, most "
          "| of what is allowed | with the gap at the same step |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bioseg-parity-") as scratch:
        for part, suffix in (("images", ".png"), ("labels", ".labels.png")):
            (pathlib.Path(scratch) / "data" / part).mkdir(parents=True)
            for image in sorted(IMAGES.glob("dsb_????.png")):
                shutil.copy(image.with_name(image.stem + suffix), pathlib.Path(scratch) / "data" / part / image.name)
        for network in a.networks:
            rows += [compare(network, seed, scratch, a.direct, a.double) for seed in a.seeds]
    if a.json:
        a.json.write_text(json.dumps(rows))
    return 0 if all(row["of_allowed"] <= 1 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
