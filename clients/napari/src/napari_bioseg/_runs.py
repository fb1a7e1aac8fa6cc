"""Segmentations under way for one viewer, and the layers that come of them. Outlives the panels: closing one loses nothing.

GUI thread only; the work itself is _work's, in threads. A result goes where its order was taken, whatever is selected by then.
"""
from __future__ import annotations

import re
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import bioseg
from bioseg.errors import Cancelled, NotFound
from qtpy.QtCore import QObject, Signal

from . import _threads, _work
from ._layers import make
from ._planes import Ticket
from ._preview import Preview
from ._sentences import sentence
from ._session import session
from ._work import Cancel, Finished, Order

_UNDO_STEPS = 5  # each keeps a whole image of labels
_TELL_SECONDS = 0.1


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
        self._cancel = Cancel()

    def cancel(self) -> None:
        """Seen at once; the server is told from a thread."""
        if self.state != "running":
            return
        _threads.start(self._cancel.set)
        if self.as_job:
            self._tell("cancelling", -1)
        else:
            self._end("cancelled")

    def _tell(self, text: str, share: float) -> None:
        if self.state == "running":
            self.text, self.share = text, share
            self.progress.emit(text, share)

    def _end(self, state: str) -> bool:
        if self.state != "running":
            return False
        self.state = state
        self.ended.emit()
        return True


@dataclass
class _Step:
    """What one result changed in the viewer."""

    new: Any
    old: Any = None   # the layer that it replaced
    index: int = 0
    was_visible: bool = True


class Runs(QObject):
    added = Signal(object)        # a Run
    said = Signal(str, str)       # "information", "warning" or "error"; a text
    undo_changed = Signal()
    jobs_changed = Signal()       # a job was handed in or has ended

    def __init__(self, viewer: Any):
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.running: list[Run] = []
        self._steps: list[_Step] = []
        self._latest: dict[Any, weakref.ref] = {}                  # source layer and part of it -> its labels
        self._edited: weakref.WeakSet = weakref.WeakSet()          # labels that were changed by hand

    # Starting.

    def segment(self, order: Order, source: Any, as_job: bool, replace_previous: bool) -> Run:
        """source: the layer, to say so if it is gone when the labels come."""
        client = session().client
        assert client is not None
        order = replace(order, batch=uuid.uuid4().hex)
        run = Run(order.name, as_job)
        info, viewer = session().info, self._viewer()
        if not as_job and info is not None and "segment-preview" in info.features and viewer is not None:
            run.preview = Preview(viewer, order.name, order.place, len(order.selection.leading))
            run.ended.connect(run.preview.end)

        def work(report: _work.Report) -> Finished:
            if not as_job:
                return _work.segment(client, order, run._cancel, report, run.preview.show if run.preview else None)
            handles = _work.submit(client, order, run._cancel, report)
            mail(self.jobs_changed.emit)
            jobs = list(zip(handles, _work.positions(order.selection.shape, len(handles))))
            return _work.collect(client, jobs, order.selection.shape, order.name, order.place, run._cancel, report)

        mail = _threads.Mail()
        key = (weakref.ref(source), repr(order.selection.leading), order.selection.rows, order.selection.columns)
        self._begin(run, client, work, lambda f, layer: self._show(f, layer, source, key if replace_previous else None))
        return run

    def open(self, client: bioseg.Client, job: bioseg.Job) -> Run:
        """The labels of a job and the others of its order, handed in before; waits for those that have not finished."""
        ticket = Ticket.of(job.labels)
        run = Run(ticket.layer if ticket else f"job {job.id[:8]}", as_job=True)

        def work(report: _work.Report) -> Finished:
            if ticket is None or not ticket.shape:
                return _work.collect_plain(bioseg.JobHandle(client, job.id), run.title, run._cancel, report)
            shape = tuple(ticket.shape)
            places = _work.positions(shape, ticket.planes)
            found = {t.plane: j.id for j in client.jobs(labels={"napari/batch": ticket.batch}) if (t := Ticket.of(j.labels))}
            jobs = [(bioseg.JobHandle(client, found[n]), places[n]) for n in sorted(found)]
            finished = _work.collect(client, jobs, shape, ticket.layer, ticket.place, run._cancel, report, ticket.planes)
            if len(jobs) < ticket.planes:
                finished.warnings.append(f"{ticket.planes - len(jobs)} of {ticket.planes} planes have no labels: their jobs are gone.")
            return finished

        self._begin(run, client, work, lambda f, layer: self._show(f, layer, None, None))
        return run

    def _begin(self, run: Run, client: bioseg.Client, work: Callable[[_work.Report], Finished], show: Callable[[Finished, Any], None]) -> None:
        mail = _threads.Mail()
        told, told_what = 0.0, ""

        def report(text: str, share: float) -> None:
            nonlocal told, told_what
            now, what = time.monotonic(), re.sub(r"\d+", "", text)
            if what != told_what or now - told >= _TELL_SECONDS:  # a bar that moves more often only costs time
                told, told_what = now, what
                mail(run._tell, text, share)

        def work_and_make() -> tuple[Finished, Any]:
            finished = work(report)
            return finished, make_layer(finished)  # seconds for a large image, the first time

        def done(both: tuple[Finished, Any]) -> None:
            if run._end("done"):
                self.running.remove(run)
                show(*both)
            self.jobs_changed.emit()

        def failed(error: Exception) -> None:
            cancelled = isinstance(error, Cancelled)
            if run._end("cancelled" if cancelled else "failed"):
                if not cancelled or not run.as_job:
                    self.said.emit("error", f"{run.title}: {sentence(error, client.address, connected=True)}")
            if isinstance(error, NotFound):
                session().refresh_models()
            self.jobs_changed.emit()

        def ended() -> None:
            if run.state != "done" and run in self.running:
                self.running.remove(run)
            if run.state == "cancelled":
                self.said.emit("information", f"{run.title}: cancelled.")

        run.ended.connect(ended)
        self.running.append(run)
        self.added.emit(run)
        _threads.start(work_and_make, done=done, failed=failed)

    # What comes of them.

    def _show(self, finished: Finished, layer: Any, source: Any, key: Any) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        known = self._latest.get(key) if key is not None else None
        previous = known() if known is not None else None
        step = _Step(layer)
        if previous is not None and previous in viewer.layers and previous not in self._edited:
            step.old, step.index, step.was_visible = previous, viewer.layers.index(previous), previous.visible
            viewer.layers.remove(previous)
            viewer.layers.insert(step.index, layer)
        else:
            if previous is not None and previous in viewer.layers:
                previous.visible = False
            viewer.add_layer(layer)
        self._watch_edits(layer)
        if key is not None:
            self._latest[key] = weakref.ref(layer)
        self._steps = [*self._steps, step][-_UNDO_STEPS:]
        self.undo_changed.emit()
        count = finished.object_count
        text = f"{finished.name}: {count} object{'' if count == 1 else 's'}."
        if source is not None and source not in viewer.layers:
            text += " The image has been removed meanwhile; its labels are there all the same."
        self.said.emit("warning" if finished.warnings else "information", "\n".join([text, *finished.warnings]))

    def _watch_edits(self, layer: Any) -> None:
        mine, edited_layers = weakref.ref(layer), self._edited

        def edited(*_: Any) -> None:
            if (found := mine()) is not None:
                edited_layers.add(found)

        layer.events.paint.connect(edited)

    @property
    def can_undo(self) -> bool:
        return bool(self._steps)

    def undo(self) -> None:
        """Takes the last labels away and brings back those that they replaced."""
        viewer = self._viewer()
        if viewer is None or not self._steps:
            return
        step = self._steps.pop()
        if step.new in viewer.layers:
            viewer.layers.remove(step.new)
        if step.old is not None and step.old not in viewer.layers:
            viewer.layers.insert(min(step.index, len(viewer.layers)), step.old)
            step.old.visible = step.was_visible
        for key, latest in list(self._latest.items()):
            if latest() is step.new:
                if step.old is None:
                    del self._latest[key]
                else:
                    self._latest[key] = weakref.ref(step.old)
        self.undo_changed.emit()


def make_layer(finished: Finished) -> Any:
    """For threads: no viewer knows the layer yet."""
    from napari.layers import Labels

    return make(Labels, finished.labels, finished.place.options() if finished.place else {}, name=f"{finished.name} labels",
                metadata={"bioseg": {"provenance": finished.provenance, "warnings": finished.warnings, "objects": finished.table}},
                features={("index" if name == "id" else name): column for name, column in finished.table.items()})


_runs: dict[int, tuple[Any, Runs]] = {}


def real(viewer: Any) -> Any:
    """napari gives plugins a proxy; layers and events must be those of the viewer itself to be found again."""
    return getattr(viewer, "__wrapped__", viewer)


def runs_of(viewer: Any) -> Runs:
    """Those of a viewer, whichever proxy of it a panel was given."""
    viewer = real(viewer)
    for key, (reference, _) in list(_runs.items()):
        if reference() is None:
            del _runs[key]
    if id(viewer) not in _runs:
        _runs[id(viewer)] = (weakref.ref(viewer), Runs(viewer))
    return _runs[id(viewer)][1]
