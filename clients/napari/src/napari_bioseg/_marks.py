"""What is done in one viewer, and for what: outlives the panel. GUI thread; objects are counted in threads."""
from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from bioseg.errors import InvalidRequest
from qtpy.QtCore import QObject, Signal

from . import _threads
from ._examples import Example, choose_split, count_objects
from ._runs import real


class Marks(QObject):
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Example] = []

    def add(self, examples: Sequence[Example]) -> int:
        """How many of them are new; one that is done already stays as it is. InvalidRequest where pixels would be learnt twice."""
        new = []
        for example in examples:
            if any(e.name == example.name and e.covers(example) and e.labels is example.labels for e in self.done):
                continue
            twice = next((e for e in self.done if e.covers(example)), None)
            if twice is not None:
                raise InvalidRequest(f"{example.name} overlaps with {twice.name}, which is done already: pixels count once. Take that one off the "
                                     "list, or choose another part")
            example.split = choose_split(example, [*self.done, *new])
            new.append(example)
        self.done += new
        for example in new:
            self._count(example)
        if new:
            self.changed.emit()
        return len(new)

    def remove(self, examples: Sequence[Example]) -> None:
        self.done = [e for e in self.done if e not in examples]
        self.changed.emit()

    def _count(self, example: Example) -> None:
        def counted(count: int) -> None:
            example.objects = count
            self.changed.emit()

        _threads.start(count_objects, example, done=counted, failed=lambda _: None)


_marks: dict[int, tuple[Any, Marks]] = {}


def marks_of(viewer: Any) -> Marks:
    """Those of a viewer, whichever proxy of it a panel was given."""
    viewer = real(viewer)
    for key, (reference, _) in list(_marks.items()):
        if reference() is None:
            del _marks[key]
    if id(viewer) not in _marks:
        _marks[id(viewer)] = (weakref.ref(viewer), Marks())
    return _marks[id(viewer)][1]
