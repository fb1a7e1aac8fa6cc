"""What the tests of exports share: a daemon with a few models, the command line, images and files read plainly."""
import json
import os
import pathlib
import struct
import subprocess

import numpy as np
import pytest
from daemon import BIN, MODEL, ROOT, Daemon

GOLDEN = ROOT / "tests" / "fixtures" / "golden"
# Winograd convolutions and another order of sums: the output is a sigmoid's, so this is absolute.
CLOSE = {"rtol": 0, "atol": 2e-4}


class Bioseg:
    """The command line against one daemon."""

    def __init__(self, daemon, folder):
        self.folder = folder
        self.server = daemon.address()

    def run(self, *arguments, code=0):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BIOSEG_")}
        done = subprocess.run([str(BIN / "bioseg"), *map(str, arguments), "--server", self.server], env=environment,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def local(self, *arguments, code=0):
        done = subprocess.run([str(BIN / "bioseg"), *map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def export(self, model, form, path, *options):
        self.run("models", "export", model, "--format", form, "-o", path, *options)
        return path

    def maps(self, model, image, *options):
        """The network's maps (channels, height, width) of a grey image."""
        import tifffile

        name = f"image-{model}"
        out = self.folder / f"maps-{model}"
        tifffile.imwrite(self.folder / f"{name}.tif", image)
        self.run("segment", "-m", model, "-o", out, "--maps", "--overwrite", *options, self.folder / f"{name}.tif")
        return tifffile.imread(out / f"{name}.maps.tif")


@pytest.fixture(scope="session")
def bioseg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    daemon = Daemon(folder / "data").start()
    cli = Bioseg(daemon, folder)
    cli.run("models", "import", MODEL, "--name", "nuclei")
    cli.local("convert", GOLDEN / "small" / "unet_in" / "model.pt", "-o", folder / "golden.safetensors")
    cli.run("models", "import", folder / "golden.safetensors", "--name", "golden")
    for name in ("mini-unetr", "mini-vimunet"):
        file = folder / f"{name}.safetensors"
        subprocess.run([str(BIN / "make_formula_model"), name, str(file)], check=True)
        cli.run("models", "import", file, "--name", name)
    yield cli
    daemon.stop()


def safetensors(path):
    """Tensors by name, the header read as the format's page says."""
    data = pathlib.Path(path).read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    kinds = {"F32": np.float32, "I64": np.int64}
    return {name: np.frombuffer(data[8 + size:][slice(*e["data_offsets"])], kinds[e["dtype"]]).reshape(e["shape"])
            for name, e in header.items()}


def grey_image(height, width, seed=0):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = random.normal(30, 4, (height, width))
    for _ in range(height * width // 2500):
        cy, cx, r = random.integers(height), random.integers(width), random.integers(6, 12)
        image[(y - cy) ** 2 + (x - cx) ** 2 < r * r] += 90
    return image.clip(0, 255).astype(np.uint8)


def standardised(image):
    image = image.astype(np.float64)
    return ((image - image.mean()) / image.std()).astype(np.float32)
