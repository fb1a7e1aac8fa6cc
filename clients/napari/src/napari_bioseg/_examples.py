"""What of the viewer a network is to learn from: planes, or boxes of planes, whose labels someone has looked at and called done.

No Qt. Examples are made in the GUI thread without touching pixels; reading them is for threads. Where labels lie on their image is asked of
napari's transforms, so labels of the plane that was shown, of a region or of a channel are found as well as those of the whole stack.
"""
from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from bioseg.errors import InvalidRequest

from ._planes import Selection, level_0, printable, sendable

TRAINING, VALIDATION = "train", "validation"
LEAST_SIDE = 16       # pixels; smaller boxes hold no object to learn from
_EVERY = 5            # of so many examples one judges
_OFF_GRID = 0.05      # pixels that labels may lie beside their image


@dataclass(eq=False)
class Example:
    """One plane of an image, or a box of it, whose labels are right."""

    image: Any                   # the layers themselves: what is done stays so when they are taken out of the viewer
    labels: Any
    selection: Selection         # of the image, one plane
    index: tuple[int, ...]       # of that plane in the image's leading axes
    key: tuple[Any, ...]         # of the same pixels in the labels
    whole: bool                  # all of the plane
    changed: bool = False        # only what was changed since a model made the labels is right
    split: str = TRAINING
    objects: int | None = field(default=None)  # None: not counted yet

    @property
    def group(self) -> str:
        return printable(self.image.name) or "image"

    @property
    def name(self) -> str:
        """As the dataset calls it."""
        s = self.selection
        moving = [i for axis, i in enumerate(self.index) if axis != s.channel_axis and self.image.data.shape[axis] > 1]
        parts = [f"plane {', '.join(map(str, moving))}"] if moving else []
        parts += [] if self.whole else [f"{s.rows[0]}:{s.rows[1]}, {s.columns[0]}:{s.columns[1]}"]
        return printable(self.group + (f" [{'; '.join(parts)}]" if parts else ""))

    @property
    def predicted(self) -> bool:
        """Whether the labels began as what a model found."""
        return isinstance(self.labels.metadata.get("bioseg"), dict)

    def covers(self, other: Example) -> bool:
        """Whether both are about some of the same pixels."""
        mine, its = self.selection, other.selection
        return (self.image is other.image and self.index == other.index and mine.rows[0] < its.rows[1] and its.rows[0] < mine.rows[1]
                and mine.columns[0] < its.columns[1] and its.columns[0] < mine.columns[1])

    def pixels(self) -> tuple[np.ndarray, str]:
        """The image's, and their axes. For threads."""
        found = np.asarray(self.selection.read(level_0(self.image.data, self.image.multiscale), self.index))
        if found.ndim == 3 and found.shape[-1] > 3:  # alpha is no colour
            found = found[..., :3]
        if np.iscomplexobj(found):
            raise InvalidRequest(f"{self.image.name} has complex numbers, which cannot be trained on")
        return sendable(found), "yxc" if found.ndim == 3 else "yx"

    def numbers(self) -> np.ndarray:
        """The labels'. For threads."""
        return np.array(level_0(self.labels.data, self.labels.multiscale)[self.key])

    def prediction(self) -> np.ndarray:
        """The labels' as the model made them. For threads."""
        found = packed(self.labels)
        if found is None:
            raise InvalidRequest(f"what a model made of {self.labels.name} is not known any more: mark everything in it done instead")
        shape, kind, data = found
        return np.frombuffer(zlib.decompress(data), kind).reshape(shape)[self.key]


def pack(labels: np.ndarray) -> tuple[tuple[int, ...], str, bytes]:
    """What a model found, to be told from what is made of it: for a layer's metadata, a hundredth of the size. For threads."""
    plain = np.ascontiguousarray(labels)
    return plain.shape, plain.dtype.str, zlib.compress(memoryview(plain).cast("B"), 1) if plain.size else b""


def packed(labels: Any) -> tuple[tuple[int, ...], str, bytes] | None:
    """Of a layer; None: no model made its labels, or it is another size by now."""
    said = labels.metadata.get("bioseg") if labels is not None else None
    found = said.get("prediction") if isinstance(said, dict) else None
    return found if found is not None and tuple(found[0]) == tuple(level_0(labels.data, labels.multiscale).shape) else None


def count_objects(example: Example) -> int:
    """Those that are learnt from. For threads."""
    numbers = example.numbers()
    if example.changed:
        numbers = numbers[numbers != example.prediction()]
    return int(np.count_nonzero(np.unique(numbers)))


def examples_of(image: Any, labels: Any, selection: Selection, changed: bool = False) -> list[Example]:
    """One for every plane of the selection. InvalidRequest where the labels are not those of the image."""
    if labels is None:
        raise InvalidRequest("there are no labels: press Segment first, or add a layer of labels and paint")
    sizes = level_0(image.data, image.multiscale).shape
    height, width = (sizes[-3], sizes[-2]) if image.rgb else (sizes[-2], sizes[-1])
    (top, bottom), (left, right) = selection.rows, selection.columns
    if bottom - top < LEAST_SIDE or right - left < LEAST_SIDE:
        raise InvalidRequest(f"a box of {bottom - top} x {right - left} pixels is too small to learn from; {LEAST_SIDE} x {LEAST_SIDE} is the least")
    whole = (bottom - top, right - left) == (height, width)
    if changed and packed(labels) is None:
        raise InvalidRequest(f"what a model made of {labels.name} is not known, so neither is what was changed: segment the image again, or mark "
                             "everything in it done")
    plain = replace(selection, around=None)
    return [Example(image, labels, plain, index, _key(image, labels, index, selection), whole, changed) for _, index in plain.planes()]


def _key(image: Any, labels: Any, index: tuple[int, ...], selection: Selection) -> tuple[Any, ...]:
    """Where in the labels the pixels of the selection lie."""
    shape = level_0(labels.data, labels.multiscale).shape
    corners = [(selection.rows[0], selection.columns[0]), (selection.rows[1] - 1, selection.columns[1] - 1)]
    found = []
    for corner in corners:
        world = np.asarray(image.data_to_world((*index, *corner)), float)
        if len(world) < labels.ndim:
            world = np.concatenate([np.zeros(labels.ndim - len(world)), world])
        found.append(np.asarray(labels.world_to_data(world[len(world) - labels.ndim:]), float))
    first, last = found
    low, high = np.round(first).astype(int), np.round(last).astype(int)
    moved = np.array(corners[1]) - np.array(corners[0])
    fits = (np.abs(first[-2:] - low[-2:]).max() <= _OFF_GRID and np.abs(last[-2:] - high[-2:]).max() <= _OFF_GRID
            and (high[-2:] - low[-2:] == moved).all() and (low >= 0).all() and (high < np.array(shape)).all())
    if not fits:
        size = " x ".join(map(str, level_0(image.data, image.multiscale).shape))
        raise InvalidRequest(f"{labels.name} ({' x '.join(map(str, shape))}) does not lie pixel by pixel on this part of {image.name} ({size}): choose "
                             "the labels that belong to the image")
    return (*map(int, low[:-2]), slice(int(low[-2]), int(high[-2]) + 1), slice(int(low[-1]), int(high[-1]) + 1))


def choose_split(example: Example, others: Sequence[Example]) -> str:
    """For an example that is new: the second and then every fifth one judges; of one image all do the same, as long as there are others."""
    same = [e.split for e in others if e.group == example.group]
    if same and len({e.group for e in others}) > 1:
        return same[0]
    judged = sum(e.split == VALIDATION for e in others)
    return VALIDATION if others and judged < 1 + (len(others) - 1) // _EVERY else TRAINING


def groups_across(examples: Sequence[Example]) -> list[str]:
    """Images of which some parts train and others judge: scores look better than they are."""
    splits: dict[str, set[str]] = {}
    for e in examples:
        splits.setdefault(e.group, set()).add(e.split)
    return sorted(group for group, found in splits.items() if len(found) > 1)
