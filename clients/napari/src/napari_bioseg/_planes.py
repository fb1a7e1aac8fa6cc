"""What of a layer is segmented, and where its labels belong: pure functions of arrays and numbers, no Qt.

Planes are cut along the last two axes (y, x) of the layer's data; an RGB layer has its samples behind those. Of the leading axes one may be
said to be channels; the others are stepped through or held at a position.
"""
from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from bioseg.errors import InvalidRequest


@dataclass(frozen=True)
class Place:
    """Where labels lie in the world: what a napari layer is told besides its data."""

    scale: list[float]
    translate: list[float]
    rotate: list | None = None
    shear: list | None = None
    affine: list | None = None
    units: list[str] | None = None
    axis_labels: list[str] | None = None

    def options(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if v is not None}

    def reduced(self, position: Sequence[int], pixel: tuple[float, float]) -> Place:
        """Where a reduced picture of one plane lies. position: of the plane; pixel: what one of its pixels stands for."""
        from napari.utils.transforms import Affine

        own = Affine(scale=self.scale, translate=self.translate, rotate=self.rotate, shear=self.shear, ndim=len(self.scale))
        middle = np.array([*map(float, position), *((p - 1) / 2 for p in pixel)])
        steps = [1.0] * len(position) + list(pixel)
        return replace(self, scale=[s * p for s, p in zip(self.scale, steps)], translate=[float(t) for t in np.asarray(own(middle)).ravel()])


@dataclass(frozen=True)
class Selection:
    """The part of an array that is sent. leading: per leading axis the indices to go through (one or many), in order."""

    leading: tuple[tuple[int, ...], ...]
    rows: tuple[int, int]
    columns: tuple[int, int]
    sample: int | None = None  # of an RGB layer; None: the server decides or refuses
    rgb: bool = False
    channel_axis: int | None = None
    around: tuple[tuple[int, int], tuple[int, int]] | None = None  # rows and columns that are sent for the network to see; None: those above

    @property
    def region(self) -> tuple[int, int, int, int] | None:
        """Of what is sent, the part that is labelled: y, x, height, width."""
        if self.around is None:
            return None
        (top, _), (left, _) = self.around
        return self.rows[0] - top, self.columns[0] - left, self.shape[-2], self.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the labels: leading axes, height, width."""
        return (*map(len, self.leading), self.rows[1] - self.rows[0], self.columns[1] - self.columns[0])

    @property
    def count(self) -> int:
        return int(np.prod([len(i) for i in self.leading], dtype=np.int64))

    def planes(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(position in the labels, index into the data) of every plane, the last axis fastest."""
        for place in itertools.product(*(range(len(i)) for i in self.leading)):
            yield place, tuple(self.leading[a][p] for a, p in enumerate(place))

    def stacks(self, along: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """As planes(), of the stacks along one of the leading axes: a slice stands for all of its planes."""
        indices = self.leading[along]
        for place, index in replace(self, leading=(*self.leading[:along], indices[:1], *self.leading[along + 1:])).planes():
            yield ((*place[:along], slice(None), *place[along + 1:]),
                   (*index[:along], slice(indices[0], indices[-1] + 1), *index[along + 1:]))

    def read(self, data: Any, index: Sequence[Any]) -> Any:
        """One plane of the array, or one stack as (z, y, x); lazy arrays stay lazy where their slicing is. For threads."""
        if self.rgb and self.sample is None and any(isinstance(i, slice) for i in index):
            raise InvalidRequest("linked planes need a channel: choose red, green or blue")
        rows, columns = self.around or (self.rows, self.columns)
        key = (*index, slice(*rows), slice(*columns))
        if self.rgb:
            key = (*key, slice(None) if self.sample is None else self.sample)
        return sendable(data[key])


def sendable(pixels: Any) -> Any:
    """The same values in a type that the server takes, where there is one: numpy makes 64-bit integers of almost anything."""
    dtype = np.dtype(pixels.dtype)
    if dtype == np.float16:
        return pixels.astype(np.float32)
    if dtype.kind in "iu" and dtype.itemsize == 8 and 0 not in pixels.shape:
        pixels = np.asarray(pixels)
        low, high = int(pixels.min()), int(pixels.max())
        for narrow in (np.int32, np.uint32):
            if np.iinfo(narrow).min <= low and high <= np.iinfo(narrow).max:
                return pixels.astype(narrow)
    return pixels


def level_0(data: Any, multiscale: bool) -> Any:
    return data[0] if multiscale else data


def pixel_size_um(units: Sequence[Any], scale: Sequence[float]) -> float | None:
    """Side of a pixel where the layer says so: a length unit on both of the last axes and one value. Else nobody knows."""
    try:
        sizes = [float((s * u).to("micrometer").magnitude) for s, u in zip(scale[-2:], units[-2:])]
    except Exception:  # noqa: BLE001 - pint has many ways to say that pixels are no length; older napari has no units
        return None
    return sizes[0] if len(sizes) == 2 and sizes[0] > 0 and abs(sizes[0] - sizes[1]) <= 1e-6 * sizes[0] else None


def box(points: np.ndarray, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the pixels within the bounding box of (y, x) positions in data coordinates, cut to the image."""
    low = np.floor(points.min(axis=0) + 0.5).astype(int)
    high = np.floor(points.max(axis=0) + 0.5).astype(int)
    rows = (max(0, int(low[0])), min(height, int(high[0])))
    columns = (max(0, int(low[1])), min(width, int(high[1])))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        raise InvalidRequest("the drawn region lies outside of the image")
    return rows, columns


def surroundings(rows: tuple[int, int], columns: tuple[int, int], size: tuple[int, int], scale: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """What of an image of that size the network sees for a part of it: as far around as the server looks, 128 pixels after scaling."""
    margin = math.ceil(128 / scale)
    return ((max(0, rows[0] - margin), min(size[0], rows[1] + margin)), (max(0, columns[0] - margin), min(size[1], columns[1] + margin)))


def place_of(layer: Any, selection: Selection, channels: int = 1) -> Place:
    """Where labels of that selection lie. An axis with one position keeps its position; the channel axis is stretched over all channels, so
    that the labels are seen whichever of them is shown."""
    from napari.utils.transforms import Affine

    scale = [float(s) for s in layer.scale]
    offset = [float(i[0]) for i in selection.leading] + [float(selection.rows[0]), float(selection.columns[0])]
    if selection.channel_axis is not None:
        offset[selection.channel_axis] = (channels - 1) / 2
    own = Affine(scale=layer.scale, translate=layer.translate, rotate=layer.rotate, shear=layer.shear)
    translate = [float(t) for t in np.asarray(own(np.asarray(offset))).ravel()]
    if selection.channel_axis is not None:
        scale[selection.channel_axis] *= channels
    rotate, shear, affine = np.asarray(layer.rotate), np.asarray(layer.shear), np.asarray(layer.affine)
    units = getattr(layer, "units", None)
    labels = getattr(layer, "axis_labels", None)
    return Place(scale, translate,
                 None if np.array_equal(rotate, np.eye(len(scale))) else rotate.tolist(),
                 None if not shear.any() else shear.tolist(),
                 None if np.array_equal(affine, np.eye(len(scale) + 1)) else affine.tolist(),
                 None if units is None or all(str(u) == "pixel" for u in units) else [str(u) for u in units],
                 None if labels is None or all(re.fullmatch(r"(axis )?-?\d+", str(a)) for a in labels) else [str(a) for a in labels])


# A job carries on the server where its labels belong: its own labels, at most 16 of 255 bytes, hold it in pieces.
_PIECE, _PIECES = 250, 11


def printable(text: str, most: int = 255) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean.encode()[:most].decode(errors="ignore")


@dataclass(frozen=True)
class Ticket:
    """What is written on each job of one order, to put the labels where they belong, tomorrow or on another machine."""

    layer: str
    batch: str
    plane: int
    planes: int
    shape: list[int]
    place: Place | None = field(default=None)
    along: int | None = None  # the axis of linked planes: a job has all of them then

    def labels(self) -> dict[str, str]:
        found = {"napari/layer": printable(self.layer), "napari/batch": self.batch, "napari/plane": f"{self.plane}/{self.planes}"}
        what = {"shape": self.shape, **(self.place.options() if self.place else {}), **({} if self.along is None else {"along": self.along})}
        text = json.dumps(what, separators=(",", ":"))
        pieces = [text[i:i + _PIECE] for i in range(0, len(text), _PIECE)]
        if len(pieces) <= _PIECES:
            found.update({f"napari/place.{n}": piece for n, piece in enumerate(pieces)})
        return found

    @classmethod
    def of(cls, labels: dict[str, str]) -> Ticket | None:
        """None for jobs of other programs."""
        try:
            plane, planes = map(int, labels["napari/plane"].split("/"))
            name, batch = labels["napari/layer"], labels["napari/batch"]
        except (KeyError, ValueError):
            return None
        try:
            text = "".join(labels[f"napari/place.{n}"] for n in range(sum(k.startswith("napari/place.") for k in labels)))
            what = json.loads(text)
            shape, along = [int(n) for n in what.pop("shape")], what.pop("along", None)
            return cls(name, batch, plane, planes, shape, Place(**what) if what else None, None if along is None else int(along))
        except (KeyError, ValueError, TypeError):
            return cls(name, batch, plane, planes, [])
