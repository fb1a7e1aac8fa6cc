"""Segmenting an order, in a thread: planes are sent one after the other, labels come back as one array with ids that are unique over it.

Nothing here touches Qt or napari's viewer. `Cancel` may be used from any thread.
"""
from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import bioseg
import numpy as np
from bioseg.errors import Cancelled, InvalidRequest

from ._planes import Place, Selection, Ticket

Report = Callable[[str, float], None]  # what is going on, and the share that is done (0 to 1; below 0: not known)
Show = Callable[[bioseg.Preview, tuple[int, ...]], None]  # a preview, and the position of its plane in the labels

_PREVIEW_SIDE = 1024
_PREVIEW_SECONDS = 0.25  # each costs the viewer 9 ms, whatever its size


@dataclass(frozen=True)
class Order:
    """What is to be segmented and how; made in the GUI thread without touching pixels."""

    name: str
    data: Any
    selection: Selection
    place: Place
    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    pixel_size: float | None = None
    linked: int | None = None  # the leading axis along which objects continue from plane to plane
    batch: str = ""
    keep_maps: bool = False  # on the server, for other thresholds


@dataclass
class Finished:
    """Labels and what to know about them."""

    name: str
    labels: np.ndarray
    place: Place | None
    object_count: int
    warnings: list[str]
    table: dict[str, np.ndarray]
    provenance: dict[str, Any]
    kept: tuple[bioseg.KeptMaps, ...] = ()  # of every plane; none where one is missing
    planes: str | None = None               # of a stack: what its planes have to do with each other, in the server's words


class Cancel:
    """Set once; whoever works registers how to stop what it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._stop: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return self._set

    def set(self) -> None:
        with self._lock:
            self._set, stop = True, self._stop
        if stop is not None:
            stop()

    def check(self) -> None:
        if self._set:
            raise Cancelled("cancelled")

    def stops(self, stop: Callable[[], None] | None) -> None:
        with self._lock:
            self._stop, late = stop, self._set
        if late and stop is not None:
            stop()


class Turn:
    """Shared by runs of which one works at a time, in the order in which they ask."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._waiting: list[Cancel] = []

    @contextlib.contextmanager
    def taken(self, cancel: Cancel, report: Report) -> Iterator[None]:
        with self._lock:
            self._waiting.append(cancel)
        try:
            report("waiting for the ones before", -1)
            with self._lock:
                while self._waiting[0] is not cancel and not cancel:
                    self._lock.wait(0.2)
            cancel.check()
            yield
        finally:
            with self._lock:
                self._waiting.remove(cancel)
                self._lock.notify_all()


class _Assembly:
    """Puts planes together. One plane alone is taken over without a copy."""

    def __init__(self, shape: tuple[int, ...], planes: int):
        self._shape, self._planes, self._done, self._objects = shape, planes, 0, 0
        self._labels: np.ndarray | None = None
        self._tables: list[dict[str, np.ndarray]] = []
        self._warnings: dict[str, list[int]] = {}
        self._provenance: dict[str, Any] = {}
        self._kept: list[bioseg.KeptMaps] = []
        self._linked: str | None = None

    def add(self, position: tuple[Any, ...], result: bioseg.Result) -> None:
        assert result.labels is not None and result.objects is not None
        labels, count = result.labels, result.object_count
        if self._planes == 1:
            self._labels = labels.reshape(self._shape)
        else:
            if self._labels is None:
                self._labels = np.zeros(self._shape, np.uint32)
            if self._objects + count > np.iinfo(np.uint32).max:
                raise InvalidRequest("there are more objects than numbers for them (2³² - 1)")
            np.add(labels, np.uint32(self._objects), out=self._labels[position], where=labels != 0)
        table = _in_labels(result)
        table["id"] = table["id"] + np.uint32(self._objects)
        if self._planes > 1:
            table["plane"] = np.full(len(table["id"]), self._done)
        self._tables.append(table)
        for warning in result.warnings:
            self._warnings.setdefault(warning.text, []).append(self._done)
        self._provenance, self._linked = dict(result.provenance), result.planes
        if result.kept is not None:
            self._kept.append(result.kept)
        self._done += 1
        self._objects += count

    def finished(self, name: str, place: Place | None) -> Finished:
        assert self._labels is not None
        if not self._labels.flags.writeable:  # napari's brush writes into it
            self._labels = self._labels.copy()
        columns = set(self._tables[0]).intersection(*self._tables[1:])
        table = {c: np.concatenate([t[c] for t in self._tables]) for c in self._tables[0] if c in columns}
        return Finished(name, self._labels, place, self._objects, [self._said(t, p) for t, p in self._warnings.items()], table,
                        self._provenance, tuple(self._kept) if len(self._kept) == self._planes else (), self._linked)

    def _said(self, text: str, planes: list[int]) -> str:
        if self._planes == 1 or len(planes) == self._planes:
            return text
        return f"{text} (plane {planes[0] + 1}" + (f" and {len(planes) - 1} more)" if len(planes) > 1 else ")")


def _in_labels(result: bioseg.Result) -> dict[str, np.ndarray]:
    """The table of objects with positions in the labels; the server's are those in what was sent, which is more than a region."""
    assert result.objects is not None
    table = {name: np.array(column) for name, column in result.objects.items()}
    if result.region is not None:
        for axis, names, offset in (("y", ("top", "bottom"), result.region.y), ("x", ("left", "right"), result.region.x)):
            for name in (*names, f"centroid_{axis}_px"):
                table[name] = table[name] - table[name].dtype.type(offset)
            if f"centroid_{axis}_um" in table:
                table[f"centroid_{axis}_um"] = table[f"centroid_{axis}_um"] - offset * result.pixel_size_um
    return table


def _plane_text(n: int, count: int) -> str:
    return f"plane {n + 1} of {count}, " if count > 1 else ""


def _progress(report: Report, step: bioseg.Progress, n: int, count: int) -> None:
    share = step.done / step.total if step.total else 0
    where = _plane_text(n, count)
    if step.phase == "tiles":
        report(where + (f"tile {step.done} of {step.total}" if step.total else "waiting for the server"), (n + share) / count if step.total or n else -1)
    elif step.phase == "upload":
        report(f"{where}sending, {step.done >> 20} of {step.total >> 20} MB", n / count if n else -1)
    else:
        report(f"{where}fetching the labels", (n + 1) / count if count == 1 else (n + 0.99) / count)


def _requests(order: Order) -> tuple[list[tuple[tuple[Any, ...], Any]], dict[str, Any]]:
    """(position, how to read it) of everything that is sent, and the options that go with each."""
    selection = order.selection
    options: dict[str, Any] = {"model": order.model, "parameters": order.parameters, "pixel_size": order.pixel_size}
    if selection.region is not None:
        options["region"] = selection.region
    if order.linked is not None:
        options.update(axes="zyx", planes="linked")
        parts = selection.stacks(order.linked)
    else:
        options["axes"] = "yxc" if selection.rgb and selection.sample is None else "yx"
        parts = selection.planes()
    return [(place, lambda index=index: selection.read(order.data, index)) for place, index in parts], options


def segment(client: bioseg.Client, order: Order, cancel: Cancel, report: Report, preview: Show | None = None) -> Finished:
    """While this program waits; lost if the connection breaks."""
    requests, options = _requests(order)
    assembly = _Assembly(order.selection.shape, len(requests))
    for n, (position, read) in enumerate(requests):
        cancel.check()
        report(f"{_plane_text(n, len(requests))}reading the image", n / len(requests) if n else -1)
        show = functools.partial(_show, preview, position) if preview else None
        running = client.start(read(), preview=show, preview_side=_PREVIEW_SIDE, preview_seconds=_PREVIEW_SECONDS, keep_maps=order.keep_maps, **options)
        cancel.stops(running.cancel)
        tell = functools.partial(_progress, report, n=n, count=len(requests))
        answered = threading.Event()

        def step(progress: bioseg.Progress, tell: Any = tell, answered: threading.Event = answered) -> None:
            if progress.phase != "upload":
                answered.set()
            tell(progress)

        threading.Thread(target=_tell_upload, args=(running, tell, answered), daemon=True).start()
        try:
            result = running.result(step)
        finally:
            answered.set()
        cancel.stops(None)
        assembly.add(position, result)
    cancel.check()
    return assembly.finished(order.name, order.place)


def relabel(client: bioseg.Client, order: Order, kept: tuple[bioseg.KeptMaps, ...], cancel: Cancel, report: Report) -> Finished:
    """New labels of the order from the maps that the server keeps of its planes. NotFound when they are gone."""
    assembly = _Assembly(order.selection.shape, len(kept))
    for n, ((position, _), maps) in enumerate(zip(order.selection.planes(), kept)):
        cancel.check()
        report(f"{_plane_text(n, len(kept))}new labels", n / len(kept) if n else -1)
        running = client.start_relabel(maps, model=order.model, parameters=order.parameters)
        cancel.stops(running.cancel)
        result = running.result()
        cancel.stops(None)
        assembly.add(position, result)
    cancel.check()
    return assembly.finished(order.name, order.place)


def _show(preview: Show, position: tuple[Any, ...], shown: bioseg.Preview) -> None:
    preview(shown, tuple(shown.z if isinstance(p, slice) else p for p in position))


def _tell_upload(running: bioseg.Segmentation, tell: Callable[[bioseg.Progress], None], answered: threading.Event) -> None:
    """The server is silent until it has the whole image."""
    while not answered.wait(0.25):
        tell(running.uploaded)


def submit(client: bioseg.Client, order: Order, cancel: Cancel, report: Report) -> list[bioseg.JobHandle]:
    """Hands in one job per plane, which the server keeps and runs whatever happens here."""
    requests, options = _requests(order)
    handles: list[bioseg.JobHandle] = []

    def sending(step: bioseg.Progress) -> None:
        cancel.check()
        _progress(report, step, len(handles), len(requests))

    try:
        for n, (_, read) in enumerate(requests):
            cancel.check()
            ticket = Ticket(order.name, order.batch, n, len(requests), list(order.selection.shape), order.place, order.linked)
            handles.append(client.submit(read(), labels=ticket.labels(), progress=sending, **options))
    except BaseException:
        for handle in handles:  # half an order is of no use to anyone
            _quietly(handle.cancel)
        raise
    return handles


def collect(client: bioseg.Client, jobs: list[tuple[bioseg.JobHandle, tuple[int, ...]]], shape: tuple[int, ...], name: str,
            place: Place | None, cancel: Cancel, report: Report, planes: int | None = None) -> Finished:
    """Waits for jobs, however long and over broken connections, and puts their labels together. planes: of the order, if jobs lack some."""
    assembly = _Assembly(shape, planes or len(jobs))

    def stop() -> None:
        for handle, _ in jobs:
            _quietly(handle.cancel)

    cancel.stops(stop)
    for n, (handle, position) in enumerate(jobs):
        def waiting(step: bioseg.Progress, n: int = n) -> None:
            cancel.check()
            _progress(report, step, n, len(jobs))

        assembly.add(position, handle.result(progress=waiting, outputs=("labels", "objects")))
    cancel.stops(None)
    return assembly.finished(name, place)


def collect_plain(handle: bioseg.JobHandle, name: str, cancel: Cancel, report: Report) -> Finished:
    """The labels of one job that does not say where they belong: one of another program."""
    def waiting(step: bioseg.Progress) -> None:
        cancel.check()
        _progress(report, step, 0, 1)

    cancel.stops(handle.cancel)
    result = handle.result(progress=waiting, outputs=("labels", "objects"))
    assert result.labels is not None
    assembly = _Assembly(result.labels.shape, 1)
    assembly.add((), result)
    return assembly.finished(name, None)


def _quietly(call: Callable[[], Any]) -> None:
    try:
        call()
    except bioseg.BiosegError:
        pass  # it had ended already, or the server is gone


def positions(shape: tuple[int, ...], along: int | None) -> list[tuple[Any, ...]]:
    """Where plane, or stack, 0, 1, ... of an order lie in its labels."""
    whole = Selection(tuple(tuple(range(n)) for n in shape[:-2]), (0, 0), (0, 0))
    return [place for place, _ in (whole.planes() if along is None else whole.stacks(along))]
