"""One segmentation under way, as the panels see it. GUI thread; `cancelled` is shared with the thread that works."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from . import _threads
from ._preview import Preview
from ._work import Cancel, Order


class Run(QObject):
    """One segmentation under way."""

    progress = Signal(str, float)  # what is going on; the share that is done, below 0: not known
    ended = Signal()

    def __init__(self, title: str, as_job: bool):
        super().__init__()
        self.title, self.as_job = title, as_job
        self.state = "running"  # then "done", "failed" or "cancelled"
        self.text, self.share = "", -1.0
        self.preview: Preview | None = None
        self.order: Order | None = None
        self.source: Callable[[], Any] = lambda: None  # the image whose labels will be new ones
        self.superseded = False
        self.cancelled = Cancel()

    def cancel(self, quietly: bool = False) -> None:
        """Seen at once; the server is told from a thread. quietly: something newer takes its place."""
        if self.state != "running":
            return
        self.superseded = quietly
        _threads.start(self.cancelled.set)
        if self.as_job:
            self.tell("cancelling", -1)
        else:
            self.end("cancelled")

    def tell(self, text: str, share: float) -> None:
        if self.state == "running":
            self.text, self.share = text, share
            self.progress.emit(text, share)

    def end(self, state: str) -> bool:
        if self.state != "running":
            return False
        self.state = state
        self.ended.emit()
        return True
