"""Arrays as files for datasets: uncompressed TIFF, whose bytes depend on nothing but the pixels, so that equal content has an equal hash on every
machine. What a page holds stands in an ImageJ description; the format's numbers are those of TIFF 6.0.
"""
from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ._images import SAMPLE_TYPES
from .errors import InvalidRequest, TooLarge

__all__ = ["image_file", "labels_file"]

_MOST = (1 << 32) - (1 << 20)  # offsets have 32 bits
_SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}


def image_file(image: Any, axes: str | None) -> bytes:
    """An image of axes "yx", "yxc", or with t, z or c in front of y and x."""
    pixels = np.asarray(image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.dtype.newbyteorder("=").name not in SAMPLE_TYPES:
        raise InvalidRequest(f"images of type {pixels.dtype} are not understood; known are {', '.join(SAMPLE_TYPES)}")
    return _file(pixels, _axes(pixels, axes, "image"))


def labels_file(labels: Any, axes: str | None) -> bytes:
    """Whole numbers from 0 on, in the narrowest type that holds them. axes: those of the image, without c."""
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "uib":
        raise InvalidRequest(f"labels are whole numbers, 0 for the background; these are of type {numbers.dtype}")
    if numbers.size and (int(numbers.min()) < 0 or int(numbers.max()) > 0xFFFFFFFF):
        raise InvalidRequest(f"labels are numbers from 0 to 2^32 - 1; these go from {numbers.min()} to {numbers.max()}")
    most = int(numbers.max()) if numbers.size else 0
    narrow = np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32
    return _file(numbers.astype(narrow), _axes(numbers, None if axes is None else axes.replace("c", ""), "labels"))


def _axes(pixels: np.ndarray, axes: str | None, what: str) -> str:
    if axes is None and pixels.ndim == 2:
        axes = "yx"
    if axes is None:
        raise InvalidRequest(f"{what} of shape {pixels.shape} can be many things: say which axis is what, e.g. axes=\"yxc\" or \"zyx\"")
    plain = axes[:-1] if axes.endswith("yxc") else axes
    if len(axes) != pixels.ndim or len(set(axes)) != len(axes) or not plain.endswith("yx") or list(plain[:-2]) != [a for a in "tzc" if a in plain[:-2]]:
        raise InvalidRequest(f"axes={axes!r} does not describe {what} of shape {pixels.shape}: t, z and c, in this order, then y and x; c may be last")
    if 0 in pixels.shape:
        raise InvalidRequest(f"the {what} has no pixels: its shape is {pixels.shape}")
    return axes


def _description(pixels: np.ndarray, axes: str) -> bytes:
    pages = axes[:axes.index("y")]
    if not pages:
        return b""
    names = {"c": "channels", "z": "slices", "t": "frames"}
    sizes = dict(zip(pages, pixels.shape))
    lines = ["ImageJ=1.53t", f"images={int(np.prod(list(sizes.values())))}", *(f"{names[a]}={sizes[a]}" for a in "czt" if a in sizes), "hyperstack=true"]
    return "\n".join([*lines, "", ""]).encode("ascii")[:-1] + b"\0"


def _file(pixels: np.ndarray, axes: str) -> bytes:
    samples = pixels.shape[-1] if axes.endswith("yxc") else 1
    height, width = pixels.shape[axes.index("y")], pixels.shape[axes.index("x")]
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    pages = little.reshape(-1, height * width * samples)
    if little.nbytes > _MOST:
        raise TooLarge(f"an array of {little.nbytes} bytes does not fit into one file of a dataset; split it into several pairs")
    out = bytearray(struct.pack("<2sHI", b"II", 42, 0))
    patch, text = 4, _description(pixels, axes)
    for page in pages:
        data = len(out)
        out += page.tobytes()
        out += b"\0" * (len(out) % 2)
        described, text = (len(out), text), b""
        out += described[1] + b"\0" * (len(described[1]) % 2)
        bits = len(out)
        out += struct.pack(f"<{samples}H", *[little.itemsize * 8] * samples)
        forms = len(out)
        out += struct.pack(f"<{samples}H", *[_SAMPLE_FORMAT[little.dtype.kind]] * samples)
        short, kind = samples == 1, _SAMPLE_FORMAT[little.dtype.kind]
        extra = samples - 3 if samples > 2 else samples - 1
        tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, little.itemsize * 8 if short else bits), (259, 3, 1, 1),
                (262, 3, 1, 2 if samples > 2 else 1)]
        tags += [(270, 2, len(described[1]), described[0])] if described[1] else []
        tags += [(273, 4, 1, data), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, page.nbytes), (284, 3, 1, 1)]
        tags += [(338, 3, extra, 0)] if extra else []
        tags += [(339, 3, samples, kind if short else forms)]
        if samples == 2:  # two numbers of 16 bits stand in the entry itself
            tags = [(t, k, n, v if t not in (258, 339) else (little.itemsize * 8 if t == 258 else kind) * 0x10001) for t, k, n, v in tags]
        out[patch:patch + 4] = struct.pack("<I", len(out))
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
        patch = len(out)
        out += struct.pack("<I", 0)
    return bytes(out)
