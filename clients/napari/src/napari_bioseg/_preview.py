"""The foreground map of a run while it is computed: an image layer marked as preview, which goes when the run ends, however it ends.

`Preview.show` is for the run's thread; everything else is the GUI thread's. Only the newest map waits for the GUI: it never falls behind.

What it costs the viewer is kept small. The layer is added once, without becoming the active one, and its pixels are written in place: neither
extent nor thumbnail nor contrast is looked at again. napari then draws the view anew, which takes as long as the machine's graphics need; so
that is measured, and drawing for the preview gets 1/20 of the viewer's time at most. Adding and removing a layer are napari's own work, 90
and 140 ms of processor time (0.9, most of the second a collection of garbage); each has an event of its own.
"""
from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import bioseg
import numpy as np

from . import _threads
from ._layers import make, remove, without_choosing
from ._planes import Place

_COLOURS = "magma"
_OPACITY = 0.6
_PAUSE = 20         # times as long as the last drawing took is waited before the next
_NOTICE_MS = 10     # a timer for so long comes late by what drawing takes


class Preview:
    def __init__(self, viewer: Any, name: str, place: Place, leading: int):
        """leading: axes in front of y and x."""
        self._viewer = weakref.ref(viewer)
        self._name, self._place, self._leading = f"{name} (preview)", place, leading
        self._mail = _threads.Mail()
        self._lock = threading.Lock()  # guards _newest
        self._newest: tuple[bioseg.Preview, tuple[int, ...]] | None = None
        self._not_before = 0.0  # when the viewer may draw the next one,
        self._drawing = False   # and whether it is not done with the last
        self._over = False
        self.layer: Any = None

    def show(self, preview: bioseg.Preview, position: tuple[int, ...]) -> None:
        """In the run's thread. position: of the plane, in the labels."""
        made = None
        if self.layer is None and not self._over:
            made = self._make(preview, position)
        with self._lock:
            waiting, self._newest = self._newest is not None, (preview, position)
        if not waiting:
            self._mail(self._deliver, made)

    def _options(self, preview: bioseg.Preview, position: tuple[int, ...]) -> dict[str, Any]:
        return self._place.reduced(position, preview.pixel).options()

    def _data(self, preview: bioseg.Preview) -> Any:
        return preview.pixels.reshape((1,) * self._leading + preview.pixels.shape)

    def _make(self, preview: bioseg.Preview, position: tuple[int, ...]) -> Any:
        from napari.layers import Image

        return make(Image, self._data(preview), self._options(preview, position), name=self._name, metadata={"bioseg": {"preview": True}},
                    contrast_limits=(0, 255), colormap=_COLOURS, opacity=_OPACITY, blending="additive")

    def _deliver(self, made: Any) -> None:
        viewer = self._viewer()
        if self._over or self._drawing or viewer is None:
            return
        wait = self._not_before - time.monotonic()
        if wait > 0:
            _threads.later(round(1000 * wait) + 1, self._deliver, made)
            return
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return
        preview, position = newest
        if self.layer is None:
            self._add(viewer, made if made is not None else self._make(preview, position))
        elif self.layer in viewer.layers:
            self._update(preview, position)
        else:  # who took it away does not want to see it
            self._over = True
            return
        self._drawing = True
        _threads.later(_NOTICE_MS, self._drawn, time.monotonic())

    def _drawn(self, since: float) -> None:
        """The event loop has come round again, whatever napari drew meanwhile."""
        now, self._drawing = time.monotonic(), False
        self._not_before = now + _PAUSE * max(0.0, now - since - _NOTICE_MS / 1000)
        with self._lock:
            waiting = self._newest is not None
        if waiting:
            self._deliver(None)

    def _add(self, viewer: Any, layer: Any) -> None:
        try:
            with without_choosing(viewer):  # the user is at work with another
                viewer.add_layer(layer)
        except (KeyError, RuntimeError):  # the window was closed, which the viewer's model does not know
            self._over = True
            return
        self.layer = layer

    def _update(self, preview: bioseg.Preview, position: tuple[int, ...]) -> None:
        layer, data = self.layer, self._data(preview)
        if layer.data.shape != data.shape:
            layer.data = data
        else:
            np.copyto(layer.data, data)
        options = self._options(preview, position)
        for name in ("translate", "scale"):  # the next plane
            if list(getattr(layer, name)) != options[name]:
                setattr(layer, name, options[name])
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def end(self, then: Callable[[], None] | None = None) -> None:
        """Takes the layer away, in an event of its own; then() in another one after it, at once if nothing is shown."""
        self._over = True
        if self.layer is not None:
            _threads.later(0, self._remove, then)
        elif then is not None:
            then()

    def _remove(self, then: Callable[[], None] | None) -> None:
        viewer, layer, self.layer = self._viewer(), self.layer, None
        if viewer is not None and layer is not None and layer in viewer.layers:
            try:
                remove(viewer, layer)
            except (KeyError, RuntimeError):  # as above
                pass
        if then is not None:
            _threads.later(0, then)
