"""The foreground map of a run while it is computed: an image layer marked as preview, which goes when the run ends, however it ends.

`Preview.show` is for the run's thread; everything else is the GUI thread's. Only the newest map waits for the GUI: it never falls behind.
"""
from __future__ import annotations

import threading
import weakref
from typing import Any

import bioseg

from . import _threads
from ._planes import Place

_COLOURS = "magma"
_OPACITY = 0.6


class Preview:
    def __init__(self, viewer: Any, name: str, place: Place, leading: int):
        """leading: axes in front of y and x."""
        self._viewer = weakref.ref(viewer)
        self._name, self._place, self._leading = f"{name} (preview)", place, leading
        self._mail = _threads.Mail()
        self._lock = threading.Lock()  # guards _newest
        self._newest: tuple[bioseg.Preview, tuple[int, ...]] | None = None
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

        from ._layers import make

        return make(Image, self._data(preview), self._options(preview, position), name=self._name, metadata={"bioseg": {"preview": True}},
                    contrast_limits=(0, 255), colormap=_COLOURS, opacity=_OPACITY, blending="additive")

    def _deliver(self, made: Any) -> None:
        with self._lock:
            newest, self._newest = self._newest, None
        viewer = self._viewer()
        if self._over or viewer is None or newest is None:
            return
        preview, position = newest
        if self.layer is None:
            self._add(viewer, made if made is not None else self._make(preview, position))
        elif self.layer in viewer.layers:
            self._update(preview, position)
        else:  # who took it away does not want to see it
            self._over = True

    def _add(self, viewer: Any, layer: Any) -> None:
        """Without a change of what is selected: the user is at work there."""
        selection = viewer.layers.selection
        before, active = set(selection), selection.active
        try:
            viewer.add_layer(layer)
        except (KeyError, RuntimeError):  # the window was closed, which the viewer's model does not know
            self._over = True
            return
        self.layer = layer
        selection.clear()
        selection.update(before)
        selection.active = active

    def _update(self, preview: bioseg.Preview, position: tuple[int, ...]) -> None:
        self.layer.data = self._data(preview)
        options = self._options(preview, position)
        if list(self.layer.translate) != options["translate"]:  # the next plane
            self.layer.translate = options["translate"]
        if list(self.layer.scale) != options["scale"]:
            self.layer.scale = options["scale"]

    def end(self) -> None:
        self._over = True
        viewer = self._viewer()
        if viewer is not None and self.layer is not None and self.layer in viewer.layers:
            selection = viewer.layers.selection
            before, active = set(selection) - {self.layer}, selection.active
            try:
                viewer.layers.remove(self.layer)
            except (KeyError, RuntimeError):  # as above
                return
            if active is not self.layer:
                selection.clear()
                selection.update(before)
                selection.active = active
