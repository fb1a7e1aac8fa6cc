"""napari layers as the panel sees them: their axes, which part of them is meant, and an order made of that. No pixel is read here."""
from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bioseg.errors import InvalidRequest

from . import _threads
from ._planes import Selection, box, level_0, pixel_size_um, place_of, surroundings
from ._work import Order

VISIBLE = "visible"  # a region: what the window shows
_DRAWN_MS = 100  # by then the view has been drawn, or the window is not seen


def shape(layer: Any) -> tuple[int, ...]:
    """Of the full resolution."""
    return tuple(int(n) for n in level_0(layer.data, layer.multiscale).shape)


def leading_axes(layer: Any) -> list[str]:
    """Names of the axes in front of y and x, with their lengths."""
    labels = getattr(layer, "axis_labels", None) or [""] * layer.ndim
    return [(f"{label}" if not re.fullmatch(r"(axis )?-?\d+", str(label)) and label else f"axis {n}") + f" ({size})"
            for n, (label, size) in enumerate(zip(labels[:layer.ndim - 2], shape(layer)))]


def pixel_size(layer: Any) -> float | None:
    return pixel_size_um(getattr(layer, "units", ()), layer.scale)


def _region(viewer: Any, layer: Any, shapes: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    drawn = list(shapes.data)
    chosen = [drawn[n] for n in sorted(shapes.selected_data)] or drawn[-1:]
    if not chosen:
        raise InvalidRequest(f"nothing is drawn in {shapes.name} yet: draw a rectangle in it")
    return _box(viewer, layer, [shapes.data_to_world(corner)[-2:] for polygon in chosen for corner in polygon])


def boxes(viewer: Any, layer: Any, shapes: Any) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Rows and columns within each of the shapes, of the selected ones if there are any."""
    drawn = list(shapes.data)
    chosen = [drawn[n] for n in sorted(shapes.selected_data)] or drawn
    if not chosen:
        raise InvalidRequest(f"nothing is drawn in {shapes.name} yet: draw a rectangle in it")
    return [_box(viewer, layer, [shapes.data_to_world(corner)[-2:] for corner in polygon]) for polygon in chosen]


def _visible(viewer: Any, layer: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """What of the layer the window shows now."""
    if viewer.dims.ndisplay != 2:
        raise InvalidRequest("the viewer shows the image in 3D: what is visible of a plane can be said in 2D only")
    canvas = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size  # before napari 0.9
    middle, half = np.asarray(viewer.camera.center[-2:], float), np.asarray(canvas, float) / 2 / viewer.camera.zoom
    try:
        return _box(viewer, layer, [middle + half * (down, right) for down in (-1, 1) for right in (-1, 1)])
    except InvalidRequest:
        raise InvalidRequest(f"nothing of {layer.name} is in the window") from None


def _box(viewer: Any, layer: Any, corners: list[Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the layer within positions (y, x) of the world."""
    world = np.tile(np.asarray(viewer.dims.point, float), (len(corners), 1))
    world[:, -2:] = np.array(corners, float)
    inside = np.array([layer.world_to_data(point) for point in world])[:, -2:]
    return box(inside, *height_width(layer))


def height_width(layer: Any) -> tuple[int, int]:
    sizes = shape(layer)
    return (sizes[-3], sizes[-2]) if layer.rgb else (sizes[-2], sizes[-1])


def order(viewer: Any, layer: Any, *, model: str, parameters: dict[str, Any], planes: tuple[int, ...] = (), linked: int | None = None,
          channel_axis: int | None = None, channel: int | None = None, region: Any = None, pixel_size: float | None = None) -> Order:
    """planes: the leading axes to step through; the others are held where the viewer stands, the channel axis at `channel`. linked: the one
    of `planes` along which objects continue. region: a Shapes layer, VISIBLE, or None."""
    if layer.ndim < 2:
        raise InvalidRequest("the layer has one axis only; images have two or more")
    sizes = shape(layer)
    if 0 in sizes:
        raise InvalidRequest(f"{layer.name} has no pixels: its shape is {sizes}")
    here = np.round(np.asarray(layer.world_to_data(viewer.dims.point))).astype(int)
    leading = []
    for axis, size in enumerate(sizes[:layer.ndim - 2]):
        if axis == channel_axis:
            leading.append((int(channel or 0),))
        elif axis in planes:
            leading.append(tuple(range(size)))
        else:
            leading.append((int(np.clip(here[axis], 0, size - 1)),))
    size, around = height_width(layer), None
    rows, columns = (0, size[0]), (0, size[1])
    if region is not None:
        rows, columns = _visible(viewer, layer) if region == VISIBLE else _region(viewer, layer, region)
        around = surroundings(rows, columns, size, float(parameters.get("scale", 1)))
    selection = Selection(tuple(leading), rows, columns, channel if layer.rgb else None, layer.rgb, channel_axis, around)
    place = place_of(layer, selection, sizes[channel_axis] if channel_axis is not None else 1)
    return Order(layer.name, level_0(layer.data, layer.multiscale), selection, place, model, parameters, pixel_size, linked)


def renamed(found: Order, name: str) -> Order:
    """The same order, of labels that are called otherwise."""
    return replace(found, name=name)


def is_preview(layer: Any) -> bool:
    found = layer.metadata.get("bioseg")
    return isinstance(found, dict) and bool(found.get("preview"))


def make(kind: Any, data: Any, place: dict[str, Any], **options: Any) -> Any:
    """A layer that no viewer knows yet; any thread. place: Place.options()."""
    place = dict(place)
    while True:
        try:
            return kind(data, **place, **options)
        except TypeError as error:  # older napari knows neither units nor names of axes
            unknown = [k for k in ("units", "axis_labels") if k in place and k in str(error)]
            if not unknown:
                raise
            for k in unknown:
                del place[k]


@contextlib.contextmanager
def without_choosing(viewer: Any) -> Iterator[None]:
    """Layers that are added meanwhile do not become the active one, and nobody is told that they were: napari would show the controls of
    each and then those of before again, a quarter of what adding costs."""
    selection = viewer.layers.selection
    with selection.events.blocker_all():
        before, active = set(selection), selection.active
        try:
            yield
        finally:
            selection.clear()
            selection.update(before)
            selection.active = active


def remove(viewer: Any, layer: Any) -> None:
    """Takes a layer away. One that is hidden is drawn once more before, transparent, and goes a moment later: where napari 0.9 last drew the
    view without a layer and that is then removed, drawing the next one that comes crashes it (vispy leaves a buffer of it in use)."""
    if layer.visible:
        viewer.layers.remove(layer)
        return
    opacity, layer.opacity, layer.visible = layer.opacity, 0, True

    def after_drawing() -> None:
        if layer in viewer.layers:
            viewer.layers.remove(layer)
        layer.visible, layer.opacity = False, opacity  # as it was, for whoever brings it back

    _threads.later(_DRAWN_MS, after_drawing)


def model_name(path: str) -> str:
    """A name that a server takes, from that of a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).lstrip("._-")[:64] or "model"


def while_alive(widget: Any, emitter: Any, callback: Callable[..., None]) -> None:
    """Connects a napari event to a method of a widget, until the widget is destroyed."""
    def call(event: Any = None) -> None:
        callback(event)

    emitter.connect(call)
    widget.destroyed.connect(lambda *_: emitter.disconnect(call))

