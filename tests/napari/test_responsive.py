"""The GUI thread while a large image is segmented: how late the event loop is, against a control run, and how long our callbacks hold it.

The control run does the same without segmenting: the daemon has as much to do (the command line segments the same image), and a layer with
the same labels is added at the end. It has no preview, so what the preview makes napari draw counts as a delay of ours.

Of a callback, what napari needs to add or to remove a layer is taken off and printed by itself: the control run adds one too, and no plugin
can make it less (napari 0.9 spends 90 ms of processor time on a layer that comes, 140 on one that goes, most of it collecting garbage).

Processor time is judged wherever this runs. What passes on a clock says something on a quiet machine only: elsewhere a callback that computes
for 2 ms waits for its turn for 100, so there the times are printed and the test is skipped.
"""
import os
import subprocess
import time

import numpy as np
import pytest
from napari.components.layerlist import LayerList
from napari.layers import Labels
from qtpy.QtCore import Qt, QTimer

from daemon import BIN
from napari_bioseg import _threads

SIDE = 4000
PERIOD = 0.005
HOLD = 0.020    # seconds that a callback may take
LATE = 20       # milliseconds that the event loop may be later than in the control run
QUIET = 0.75    # programs that want a core, per core, before the test begins


class Watch:
    """How late a timer of 5 ms is, from its own last tick; the median of the machine at rest is in it too."""

    def __init__(self):
        self.delays = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(int(PERIOD * 1000))

    def _tick(self):
        now = time.perf_counter()
        self.delays.append(now - self._last - PERIOD)
        self._last = now

    def stop(self):
        self._timer.stop()
        return np.array(self.delays)


class Callbacks:
    """How long each callback of ours takes: by the clock and of the processor, without what napari needs for layers that come and go."""

    def __init__(self, monkeypatch):
        self.found, self.layers = [], []
        deliver = _threads.deliver
        monkeypatch.setattr(_threads, "deliver", lambda callback, arguments: self.time(
            getattr(callback, "__qualname__", "?"), deliver, callback, arguments))
        for name in ("insert", "__delitem__"):
            monkeypatch.setattr(LayerList, name, self._naparis(name, getattr(LayerList, name)))

    def _naparis(self, name, method):
        def timed(*arguments):
            began, used = time.perf_counter(), time.thread_time()
            try:
                return method(*arguments)
            finally:
                self.layers.append((time.perf_counter() - began, time.thread_time() - used, name))

        return timed

    def time(self, name, function, *arguments):
        before, began, used = len(self.layers), time.perf_counter(), time.thread_time()
        value = function(*arguments)
        clock, processor = time.perf_counter() - began, time.thread_time() - used
        self.found.append((clock - sum(c for c, _, _ in self.layers[before:]), processor - sum(p for _, p, _ in self.layers[before:]), name))
        return value

    def longest(self, which):
        return max(self.found, key=lambda f: f[which])


def percentile(delays):
    return 1000 * float(np.percentile(delays, 99))


@pytest.mark.timeout(900)
def test_the_viewer_is_as_quick_while_a_large_image_is_segmented(viewer, panel, qtbot, daemon, blobs, monkeypatch, tmp_path):
    import tifffile

    quiet = os.getloadavg()[0] < QUIET * os.cpu_count()
    image = np.tile(blobs(1000, 1000), (4, 4))
    assert image.shape == (SIDE, SIDE)
    viewer.add_image(image, name="large")
    segment = panel()
    # What napari loads with its first layer of labels is no one's delay; the control run finds it loaded too.
    viewer.layers.remove(viewer.add_layer(Labels(np.ones((64, 64), np.uint32), features={"index": [1]})))
    qtbot.wait(500)

    ours = Callbacks(monkeypatch)
    previews = []
    viewer.layers.events.inserted.connect(lambda event: previews.append(event.value) if "preview" in event.value.name else None)
    began = time.perf_counter()
    run = ours.time("segment", segment.segment)
    watch = Watch()
    qtbot.waitUntil(lambda: run.state != "running", timeout=800000)
    qtbot.wait(1000)
    during = watch.stop()
    took = time.perf_counter() - began
    assert run.state == "done", segment.message.text()
    assert len(previews) == 1 and previews[0] not in viewer.layers and previews[0].data.any()
    labels = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    of_napari = list(ours.layers)

    # The control: the same work for the daemon, asked for by another process, and the same layer.
    finished = labels.data.copy()
    features = {c: labels.features[c].to_numpy() for c in labels.features}
    viewer.layers.remove(labels)
    qtbot.wait(200)
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, image)
    layer = Labels(finished, name="control", features=features)
    watch = Watch()
    other = subprocess.Popen([BIN / "bioseg", "--server", daemon.address(), "-q", "segment", "-m", "nuclei", "-o", tmp_path / "out", path])
    qtbot.waitUntil(lambda: other.poll() is not None, timeout=800000)
    viewer.add_layer(layer)
    qtbot.wait(1000)
    control = watch.stop()
    assert other.returncode == 0
    assert (tifffile.imread(tmp_path / "out" / "large.tif") == finished).all()

    clock, processor = ours.longest(0), ours.longest(1)
    print(f"\n{SIDE} x {SIDE} pixels in {took:.1f} s, load {os.getloadavg()[0]:.1f}; event loop late: p99 {percentile(during):.1f} ms (control "
          f"{percentile(control):.1f}), max {1000 * during.max():.0f} ms (control {1000 * control.max():.0f}); {len(ours.found)} callbacks, longest "
          f"{1000 * clock[0]:.1f} ms by the clock ({clock[2]}), {1000 * processor[1]:.1f} ms of the processor ({processor[2]}); napari's own: "
          + ", ".join(f"{name} {1000 * c:.0f} ms ({1000 * p:.0f} of the processor)" for c, p, name in of_napari))
    assert processor[1] < HOLD, sorted(ours.found, key=lambda f: f[1])[-5:]
    if not quiet:
        pytest.skip("other programs are busy: what passes on a clock says nothing about this one")
    assert clock[0] < HOLD, sorted(ours.found)[-5:]
    assert percentile(during) < percentile(control) + LATE
