"""Fixtures for the tests of the napari plugin: a real viewer on a virtual screen, a real daemon with the nuclei model."""
import pathlib
import sys
import warnings

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "e2e"))

from daemon import MODEL, Daemon  # noqa: E402

import bioseg  # noqa: E402
from napari_bioseg import _session  # noqa: E402

WAIT = 200000  # milliseconds that anything may take on a loaded machine


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """Tests see neither the settings nor the daemon of whoever runs them, and each begins unconnected."""
    for name in ("SERVER", "TOKEN", "TOKEN_FILE", "TLS_CA", "CONFIG"):
        monkeypatch.delenv("BIOSEG_" + name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setattr(_session, "_session", None)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    d = Daemon(tmp_path_factory.mktemp("napari") / "data").start()
    with bioseg.Client(d.address()) as client:
        client.import_model(MODEL, "nuclei")
    yield d
    d.stop()


@pytest.fixture
def client(daemon):
    with bioseg.Client(daemon.address()) as c:
        yield c


@pytest.fixture
def viewer(qtbot):
    import napari

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        v = napari.Viewer(show=True)
    yield v
    v.close()


@pytest.fixture
def panel(viewer, qtbot, daemon):
    """Opens a panel, connected to the daemon."""
    def open_it(name="Segment", address=None):
        session = _session.session()
        if session.client is None:
            session.tried = True
            session.connect_to({"server": address or daemon.address()})
            qtbot.waitUntil(lambda: bool(session.models), timeout=WAIT)
        _, widget = viewer.window.add_plugin_dock_widget("napari-bioseg", name)
        if name == "Segment":
            qtbot.waitUntil(lambda: bool(widget.form.fields), timeout=WAIT)
        return widget

    return open_it


@pytest.fixture
def finish(qtbot):
    """Waits for a run and says how it ended."""
    def wait(run, timeout=WAIT):
        assert run is not None
        qtbot.waitUntil(lambda: run.state != "running", timeout=timeout)
        qtbot.wait(20)
        return run.state

    return wait


@pytest.fixture(scope="session")
def blobs():
    """Bright discs on a dark ground: something to find."""
    def make(height, width, seed=0):
        random = np.random.default_rng(seed)
        y, x = np.ogrid[:height, :width]
        image = random.normal(20, 3, (height, width)).astype(np.float32)
        for _ in range(max(1, height * width // 3000)):
            cy, cx, r = random.integers(height), random.integers(width), random.integers(6, 12)
            part = np.s_[max(0, cy - r):cy + r, max(0, cx - r):cx + r]
            image[part][(y[part[:1]] - cy) ** 2 + (x[:, part[1]] - cx) ** 2 < r * r] = 160
        return image.clip(0, 255).astype(np.uint8)

    return make
