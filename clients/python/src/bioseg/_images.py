"""Images on their way to the server: arrays and files as a description and chunks of bytes.

Nothing is guessed: an array of two dimensions is an image (y, x), anything else needs `axes`; pixel sizes are what the caller says. Arrays
that are not in memory (dask, zarr, h5py: anything with shape, dtype and slicing) are read piece by piece along their first axis.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np

from ._crc32c import crc32c
from .errors import InvalidRequest
from .v1 import common_pb2 as common

__all__ = ["CHUNK", "ImageSource", "PixelSize", "describe", "message_parts"]

CHUNK = 1 << 20
_SLAB = 32 << 20  # bytes of a lazy array that are read at a time

SAMPLE_TYPES = {
    "uint8": common.SAMPLE_TYPE_UINT8, "uint16": common.SAMPLE_TYPE_UINT16, "uint32": common.SAMPLE_TYPE_UINT32,
    "int8": common.SAMPLE_TYPE_INT8, "int16": common.SAMPLE_TYPE_INT16, "int32": common.SAMPLE_TYPE_INT32,
    "float32": common.SAMPLE_TYPE_FLOAT32, "float64": common.SAMPLE_TYPE_FLOAT64,
}

# Micrometres per pixel, for y and x alike or per axis; with a unit: (0.3, "um") or {"y": (300, "nm"), "x": (300, "nm"), "z": 1.0}.
PixelSize = Union[float, tuple, Mapping[str, Any], None]


@dataclass
class ImageSource:
    """What is sent: description, number of bytes, and a way to go through them (again, if the connection broke)."""

    description: common.ImageDescription
    total_bytes: int
    _content: Any  # bytes-like, path, or array

    def pieces(self) -> Iterator[bytes | memoryview]:
        if isinstance(self._content, Path):
            yield from _file_pieces(self._content, self.total_bytes)
        elif isinstance(self._content, (bytes, memoryview)):
            view = memoryview(self._content).cast("B")
            for offset in range(0, len(view), CHUNK):
                yield view[offset:offset + CHUNK]
        else:
            yield from _array_pieces(self._content)

    def all_bytes(self) -> bytes:
        return b"".join(self.pieces())


def describe(image: Any, axes: str | None = None, pixel_size: PixelSize = None,
             channel_names: Sequence[str] | None = None) -> ImageSource:
    """An array, a path of a PNG or TIFF file, or the bytes of one."""
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None
        return _encoded(path, size, str(path), axes, pixel_size, channel_names)
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        return _encoded(data, len(data), "the file", axes, pixel_size, channel_names)
    return _array(image, axes, pixel_size, channel_names)


def _encoded(content: Any, size: int, name: str, axes: str | None, pixel_size: PixelSize,
             channel_names: Sequence[str] | None) -> ImageSource:
    if not size:
        raise InvalidRequest(f"{name} is empty")
    pages = set(axes or "") - set("yx")
    if axes is not None and (len(pages) != 1 or pages - set("tzc")):
        raise InvalidRequest(f"axes={axes!r}: a file states its own axes; what its pages are can be said with one of t, z and c, e.g. \"zyx\"")
    description = common.ImageDescription(encoding=common.IMAGE_ENCODING_FILE, channel_names=channel_names or [])
    sizes = _pixel_sizes(pixel_size, "yx")
    for name in pages:
        sizes.setdefault(name, (0.0, ""))
    description.axes.extend(common.Axis(name=n, pixel_size=s, unit=u) for n, (s, u) in sizes.items())
    return ImageSource(description, size, content)


def _array(image: Any, axes: str | None, pixel_size: PixelSize, channel_names: Sequence[str] | None) -> ImageSource:
    if not (hasattr(image, "shape") and hasattr(image, "dtype")):
        image = np.asarray(image)
    shape = tuple(int(n) for n in image.shape)
    dtype = np.dtype(image.dtype)
    if axes is None and len(shape) == 2:
        axes = "yx"
    if axes is None:
        raise InvalidRequest(f"an array of shape {shape} can be many things: say which axis is what, e.g. axes=\"yxc\" or \"zyx\"")
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or set(axes) - set("tzcyx"):
        raise InvalidRequest(f"axes={axes!r} does not describe an array of shape {shape}: one letter of t, z, c, y, x per axis, each once")
    if 0 in shape:
        raise InvalidRequest(f"the image has no pixels: its shape is {shape}")
    if dtype == np.bool_:
        dtype = np.dtype(np.uint8)
    if dtype.newbyteorder("=").name not in SAMPLE_TYPES:
        raise InvalidRequest(f"images of type {dtype} are not understood; known are {', '.join(SAMPLE_TYPES)}")
    sizes = _pixel_sizes(pixel_size, [a for a in axes if a in "yx"])
    description = common.ImageDescription(encoding=common.IMAGE_ENCODING_RAW,
                                          sample_type=SAMPLE_TYPES[dtype.newbyteorder("=").name],
                                          channel_names=channel_names or [])
    for name, n in zip(axes, shape):
        size, unit = sizes.get(name, (0.0, ""))
        description.axes.append(common.Axis(name=name, size=n, pixel_size=size, unit=unit))
    return ImageSource(description, int(np.prod(shape, dtype=object)) * dtype.itemsize, image)


def _pixel_sizes(pixel_size: PixelSize, axes: Sequence[str]) -> dict[str, tuple[float, str]]:
    if pixel_size is None:
        return {}
    given = pixel_size if isinstance(pixel_size, Mapping) else {a: pixel_size for a in axes}
    sizes = {}
    for name, value in given.items():
        size, unit = value if isinstance(value, tuple) else (value, "um")
        sizes[str(name)] = (float(size), str(unit))
    return sizes


def _file_pieces(path: Path, expected: int) -> Iterator[bytes]:
    sent = 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(CHUNK):
                sent += len(piece)
                yield piece
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None
    if sent != expected:
        raise InvalidRequest(f"{path} changed while it was read: {expected} bytes at first, then {sent}")


def _array_pieces(image: Any) -> Iterator[memoryview]:
    """C order, little endian, in chunks of CHUNK bytes."""
    dtype = np.dtype(image.dtype)
    row = int(np.prod(image.shape[1:], dtype=object)) * dtype.itemsize
    step = image.shape[0] if isinstance(image, np.ndarray) else max(1, _SLAB // max(row, 1))
    rest = b""
    for first in range(0, image.shape[0], step):
        slab = np.asarray(image[first:first + step])
        little = np.ascontiguousarray(slab, dtype=dtype.newbyteorder("<"))
        view = memoryview(little.reshape(-1).view(np.uint8))
        at = 0
        if rest:
            at = min(CHUNK - len(rest), len(view))
            rest += view[:at]
            if len(rest) == CHUNK:
                yield memoryview(rest)
                rest = b""
        while len(view) - at >= CHUNK:
            yield view[at:at + CHUNK]
            at += CHUNK
        rest += view[at:]
    if rest:
        yield memoryview(rest)


def message_parts(kind: Any, start: Any, source: ImageSource, sent: Any = None) -> Iterator[Any]:
    """The messages of an upload: one start, chunks, one end. sent: called with the bytes sent so far."""
    yield kind(start=start)
    offset = 0
    for piece in source.pieces():
        yield kind(chunk=common.Chunk(offset=offset, crc32c=crc32c(piece), data=bytes(piece)))
        offset += len(piece)
        if sent:
            sent(offset)
    yield kind(end=common.ChunkEnd(total_bytes=offset))
