"""Fixtures for the tests of the Python client: a real daemon with the nuclei model, and images."""
import pathlib
import sys

import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from daemon import MODEL, Daemon  # noqa: E402

import bioseg  # noqa: E402


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """Tests see neither the settings nor the daemon of whoever runs them."""
    for name in ("SERVER", "TOKEN", "TOKEN_FILE", "TLS_CA", "CONFIG"):
        monkeypatch.delenv("BIOSEG_" + name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    d = Daemon(tmp_path_factory.mktemp("python") / "data").start()
    with bioseg.Client(d.address()) as client:
        client.import_model(MODEL, "nuclei")
    yield d
    d.stop()


@pytest.fixture
def client(daemon):
    with bioseg.Client(daemon.address()) as c:
        yield c


@pytest.fixture(scope="session")
def blobs():
    """Bright discs on a dark ground: something to find."""
    def make(height, width, seed=0):
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        image = random.normal(20, 3, (height, width))
        for _ in range(max(1, height * width // 3000)):
            cy, cx, r = random.integers(height), random.integers(width), random.integers(6, 12)
            image[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 160
        return image.clip(0, 255).astype(np.uint8)

    return make
