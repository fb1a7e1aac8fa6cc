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
from ._examples import pack
from ._folder import FolderOrder, Said, segment_folder
from ._layers import make, remove
from ._planes import Ticket
from ._preview import Preview
from ._run import Run
from ._sentences import sentence
from ._session import session
from ._work import Finished, Order, Turn

_UNDO_STEPS = 5  # each keeps a whole image of labels
_TELL_SECONDS = 0.1


@dataclass
class _Step:
    """What one result changed in the viewer: a layer that came, or the contents of one."""

    new: Any
    old: Any = None   # the layer that it replaced
    index: int = 0
    was_visible: bool = True
    contents: dict[str, Any] | None = None  # those before, of a layer that stayed
    origin: _Origin | None = None


@dataclass
class _Origin:
    """How the labels of a layer were made, to make them again with other thresholds."""

    order: Order
    kept: tuple[bioseg.KeptMaps, ...]
    source: weakref.ref  # the image's layer
    number: int          # later ones are larger
    key: Any = None      # of Runs._latest


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
        self._origins: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # labels -> _Origin
        self._adjusting: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # labels -> the run that makes new ones of them
        self._count = 0
        self._errors: list[str] = []  # of runs that went on together
        viewer.layers.events.removed.connect(self._forget)

    def _forget(self, event: Any) -> None:
        """The pixels of an image that was removed are not held for the sake of its labels."""
        for labels, origin in list(self._origins.items()):
            if origin.source() is event.value:
                del self._origins[labels]

    # Starting.

    def segment(self, order: Order, source: Any, as_job: bool, replace_previous: bool, turn: Turn | None = None) -> Run:
        """source: the layer, to say so if it is gone when the labels come. turn: shared by runs that wait for each other."""
        client = session().client
        assert client is not None
        order = replace(order, batch=uuid.uuid4().hex, keep_maps=not as_job and order.linked is None and _offers("kept-maps"))
        run = Run(order.name, as_job)
        run.source = weakref.ref(source)
        self._give_preview(run, order)

        def work(report: _work.Report) -> Finished:
            if turn is None:
                return segment(report)
            with turn.taken(run.cancelled, report):
                return segment(report)

        def segment(report: _work.Report) -> Finished:
            if not as_job:
                return _work.segment(client, order, run.cancelled, report, run.preview.show if run.preview else None)
            handles = _work.submit(client, order, run.cancelled, report)
            mail(self.jobs_changed.emit)
            jobs = list(zip(handles, _work.positions(order.selection.shape, order.linked)))
            return _work.collect(client, jobs, order.selection.shape, order.name, order.place, run.cancelled, report)

        mail = _threads.Mail()
        key = (weakref.ref(source), repr(order.selection.leading), order.selection.rows, order.selection.columns)
        key = key if replace_previous else None
        self._begin(run, client, work, lambda f, layer: self._show(f, layer, source, key, order))
        return run

    def segment_folder(self, order: FolderOrder) -> Run:
        """Files to files: nothing comes into the viewer but the word that it is done."""
        client = session().client
        assert client is not None
        run = Run(order.folder.name, False)

        def done(said: Said) -> None:
            if run.end("done"):
                self.running.remove(run)
                self._tell(*said)

        self._start(run, client, lambda report: segment_folder(client, order, run.cancelled, report), done)
        return run

    def _give_preview(self, run: Run, order: Order) -> None:
        viewer = self._viewer()
        if not run.as_job and run.state == "running" and viewer is not None and _offers("segment-preview"):
            run.preview = Preview(viewer, order.name, order.place, len(order.selection.leading))
            run.ended.connect(run.preview.end)

    # Other thresholds.

    def adjustable(self, source: Any, model: str) -> Any:
        """The newest labels of an image that new ones can be made of with other thresholds; None: there are none."""
        viewer = self._viewer()
        found = [(origin.number, layer) for layer, origin in self._origins.items()
                 if origin.source() is source and origin.order.model == model and origin.kept and viewer is not None and layer in viewer.layers]
        return max(found, key=lambda f: f[0])[1] if found else None

    def has_labels(self, source: Any, model: str) -> bool:
        """Whether labels of the image by that model are there, adjustable or not."""
        viewer = self._viewer()
        return viewer is not None and any(origin.source() is source and origin.order.model == model and layer in viewer.layers
                                          for layer, origin in self._origins.items())

    def busy(self, source: Any) -> bool:
        """Whether labels of the image are being made that will replace the ones there are."""
        return any(run.source() is source for run in self.running)

    def parameters_of(self, labels: Any) -> dict[str, Any]:
        """Those that the labels were made with, or will be in a moment."""
        run = self._adjusting.get(labels)
        return run.order.parameters if run is not None else self._origins[labels].order.parameters

    def adjust(self, labels: Any, parameters: dict[str, Any]) -> Run | None:
        """New labels in the same layer, from the maps that the server has kept; with the network where it has not, which is said."""
        client, origin = session().client, self._origins[labels]
        if client is None or parameters == self.parameters_of(labels):
            return None
        if (before := self._adjusting.pop(labels, None)) is not None:
            before.cancel(quietly=True)
        if parameters == origin.order.parameters:  # back where they are
            return None
        order = replace(origin.order, parameters=parameters)
        run = Run(order.name, False)
        run.order = order
        self._adjusting[labels] = run
        mine, mail = weakref.ref(labels), _threads.Mail()

        def work(report: _work.Report) -> Finished:
            try:
                return _work.relabel(client, order, origin.kept, run.cancelled, report)
            except NotFound as gone:
                if gone.reason != "maps-gone":
                    raise
                mail(self._give_preview, run, order)
                finished = _work.segment(client, order, run.cancelled, report, lambda *shown: run.preview and run.preview.show(*shown))
                finished.warnings.insert(0, "The server did not have the network's maps any more, so the network ran again.")
                return finished

        def show(finished: Finished, made: Any) -> None:
            layer = mine()
            if layer is not None and self._adjusting.get(layer) is run:
                del self._adjusting[layer]
            viewer = self._viewer()
            if layer is None or viewer is None or layer not in viewer.layers:
                return  # taken away or replaced meanwhile: nobody waits for these
            if layer in self._edited:
                self._show(finished, made, origin.source(), origin.key, order)
            else:
                self._change(layer, finished, made, order)

        def ended() -> None:
            layer = mine()
            if layer is not None and run.state != "done" and self._adjusting.get(layer) is run:
                del self._adjusting[layer]

        run.ended.connect(ended)
        self._begin(run, client, work, show)
        return run

    def _change(self, layer: Any, finished: Finished, made: Any, order: Order) -> None:
        """Puts the labels of `made` into the layer."""
        step = _Step(layer, contents=_contents(layer), origin=self._origins.get(layer))
        _put(layer, _contents(made))
        if step.origin is not None:
            self._origins[layer] = replace(step.origin, order=order, kept=finished.kept or step.origin.kept)
        self._remember(step)
        self._say(finished, None)

    def open(self, client: bioseg.Client, job: bioseg.Job) -> Run:
        """The labels of a job and the others of its order, handed in before; waits for those that have not finished."""
        ticket = Ticket.of(job.labels)
        run = Run(ticket.layer if ticket else f"job {job.id[:8]}", as_job=True)

        def work(report: _work.Report) -> Finished:
            if ticket is None or not ticket.shape:
                return _work.collect_plain(bioseg.JobHandle(client, job.id), run.title, run.cancelled, report)
            shape = tuple(ticket.shape)
            places = _work.positions(shape, ticket.along)
            found = {t.plane: j.id for j in client.jobs(labels={"napari/batch": ticket.batch}) if (t := Ticket.of(j.labels))}
            jobs = [(bioseg.JobHandle(client, found[n]), places[n]) for n in sorted(found)]
            finished = _work.collect(client, jobs, shape, ticket.layer, ticket.place, run.cancelled, report, ticket.planes)
            if len(jobs) < ticket.planes:
                finished.warnings.append(f"{ticket.planes - len(jobs)} of {ticket.planes} planes have no labels: their jobs are gone.")
            return finished

        self._begin(run, client, work, lambda f, layer: self._show(f, layer, None, None))
        return run

    def _begin(self, run: Run, client: bioseg.Client, work: Callable[[_work.Report], Finished], show: Callable[[Finished, Any], None]) -> None:
        def work_and_make(report: _work.Report) -> tuple[Finished, Any]:
            finished = work(report)
            return finished, make_layer(finished)  # seconds for a large image, the first time

        def done(both: tuple[Finished, Any]) -> None:
            if run.preview is not None:  # first, in an event of its own: to the viewer, a layer that goes is as much work as one that comes
                run.preview.end(lambda: arrive(both))
            else:
                arrive(both)

        def arrive(both: tuple[Finished, Any]) -> None:
            if run.end("done"):
                self.running.remove(run)
                show(*both)
            self.jobs_changed.emit()

        self._start(run, client, work_and_make, done)

    def _start(self, run: Run, client: bioseg.Client, work: Callable[[_work.Report], Any], done: Callable[[Any], None]) -> None:
        mail = _threads.Mail()
        told, told_what = 0.0, ""

        def report(text: str, share: float) -> None:
            nonlocal told, told_what
            now, what = time.monotonic(), re.sub(r"\d+", "", text)
            if what != told_what or now - told >= _TELL_SECONDS:  # a bar that moves more often only costs time
                told, told_what = now, what
                mail(run.tell, text, share)

        def failed(error: Exception) -> None:
            cancelled = isinstance(error, Cancelled)
            if run.end("cancelled" if cancelled else "failed"):
                if not cancelled or not run.as_job:
                    self._tell("error", f"{run.title}: {sentence(error, client.address, connected=True)}")
            if isinstance(error, NotFound):
                session().refresh_models()
            self.jobs_changed.emit()

        def ended() -> None:
            if run.state != "done" and run in self.running:
                self.running.remove(run)
            if run.state == "cancelled" and not run.superseded:
                self._tell("information", f"{run.title}: cancelled.")

        run.ended.connect(ended)
        if not self.running:
            self._errors.clear()
        self.running.append(run)
        self.added.emit(run)
        _threads.start(work, report, done=done, failed=failed)

    # What comes of them.

    def _show(self, finished: Finished, layer: Any, source: Any, key: Any, order: Order | None = None) -> None:
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
        if order is not None and source is not None:
            self._count += 1
            self._origins[layer] = _Origin(order, finished.kept, weakref.ref(source), self._count, key)
        self._remember(step)
        self._say(finished, source)

    def _remember(self, step: _Step) -> None:
        self._steps = [*self._steps, step][-_UNDO_STEPS:]
        self.undo_changed.emit()

    def _say(self, finished: Finished, source: Any) -> None:
        viewer = self._viewer()
        count = finished.object_count
        without = " (the network did not run)" if finished.provenance.get("kept_maps") else ""
        linked = f", {finished.planes}" if finished.planes else ""
        text = f"{finished.name}: {count} object{'' if count == 1 else 's'}{linked}{without}."
        if source is not None and viewer is not None and source not in viewer.layers:
            text += " The image has been removed meanwhile; its labels are there all the same."
        self._tell("warning" if finished.warnings else "information", "\n".join([text, *finished.warnings]))

    def _tell(self, kind: str, text: str) -> None:
        """How a run ended. What went wrong with those that were under way beside it is not forgotten over that."""
        if kind == "error":
            self._errors.append(text)
            self.said.emit(kind, "\n".join(self._errors))
        else:
            self.said.emit("error" if self._errors else kind, "\n".join([*self._errors, text]))

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
        if step.contents is not None:
            self._undo_change(step)
            self.undo_changed.emit()
            return
        if step.old is not None and step.old not in viewer.layers:
            if step.new in viewer.layers:
                viewer.layers.remove(step.new)
            viewer.layers.insert(min(step.index, len(viewer.layers)), step.old)
            step.old.visible = step.was_visible
        elif step.new in viewer.layers:
            remove(viewer, step.new)
        for key, latest in list(self._latest.items()):
            if latest() is step.new:
                if step.old is None:
                    del self._latest[key]
                else:
                    self._latest[key] = weakref.ref(step.old)
        self.undo_changed.emit()


    def _undo_change(self, step: _Step) -> None:
        if step.new in self._edited:
            self.said.emit("information", f"{step.new.name} has been painted in since: what it held before is not brought back over that.")
            return
        if (run := self._adjusting.pop(step.new, None)) is not None:
            run.cancel(quietly=True)
        _put(step.new, step.contents)
        if step.origin is not None:
            self._origins[step.new] = step.origin


def _offers(feature: str) -> bool:
    info = session().info
    return info is not None and feature in info.features


def _contents(layer: Any) -> dict[str, Any]:
    return {"data": layer.data, "features": layer.features, "metadata": layer.metadata}


def _put(layer: Any, contents: dict[str, Any]) -> None:
    for name, value in contents.items():
        setattr(layer, name, value)


def make_layer(finished: Finished) -> Any:
    """For threads: no viewer knows the layer yet."""
    from napari.layers import Labels

    return make(Labels, finished.labels, finished.place.options() if finished.place else {}, 
                name=f"{finished.name} labels" + (f" ({finished.planes})" if finished.planes else ""),
                metadata={"bioseg": {"provenance": finished.provenance, "planes": finished.planes, "warnings": finished.warnings,
                                     "objects": finished.table, "prediction": pack(finished.labels)}},
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
