"""Sending what is done and starting a run; following a run. For threads: nothing here touches Qt or the viewer.

What the dataset holds already is not sent again. A plane whose labels have changed since takes the place of what was sent of it before.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import bioseg
import numpy as np
from bioseg.errors import AlreadyExists, BiosegError, InvalidRequest, NotReachable, Refused

from ._examples import TRAINING, VALIDATION, Example
from ._planes import printable
from ._work import Cancel, Report

_RETRY_SECONDS = 1.0
_MOST_NAMED = 5
_MOST_POINTS = 500   # of a curve on the screen
_SMOOTHING = 0.95    # losses of single batches jump


@dataclass(frozen=True)
class TrainOrder:
    """What the panel says."""

    dataset: str
    examples: Sequence[Example]
    model: str                        # the name that the weights get
    initial: str | None               # the model to train on; None: random weights of
    architecture: str | None
    recipe: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """A run, and what became of the examples."""

    run_id: str
    sent: int
    there: int
    replaced: int
    across: tuple[str, ...]  # images that train and validate
    warnings: tuple[str, ...] = ()  # of the server about the dataset


def start(client: bioseg.Client, order: TrainOrder, cancel: Cancel, report: Report) -> Started:
    """Brings the dataset up to date, then queues the run."""
    held = _dataset(client, order.dataset)
    _check_splits(order, held)
    by_image = {p.image_sha256: p for p in held}
    names = {p.name for p in held}
    sent = there = replaced = 0
    for n, example in enumerate(order.examples):
        cancel.check()
        report(f"{example.name}, {n + 1} of {len(order.examples)}", n / len(order.examples))
        image, axes = example.pixels()
        labels = example.numbers()
        prediction, annotation = _known(example, labels)
        hashes = bioseg.pair_hashes(image, labels, axes=axes)
        found = None if prediction is None else bioseg.pair_hashes(image, prediction, axes=axes)[1]
        before = by_image.get(hashes[0])
        if before is not None and (before.labels_sha256, before.split, before.prediction_sha256) == (hashes[1], example.split, found):
            there += 1
            continue
        name = before.name if before is not None else _free_name(example.name, names)
        if before is not None:
            _make_room(client, order.dataset, before)
            replaced += 1
        else:
            sent += 1
        names.add(name)
        client.add_pair(order.dataset, image, labels, name=name, split=example.split, group=example.group, axes=axes, across_splits=True,
                        annotation=annotation, prediction=prediction, progress=lambda _: cancel.check())
    cancel.check()
    report("starting", -1)
    what = {"dataset": order.dataset, "model": order.model, "initial": order.initial, "architecture": order.architecture, "recipe": order.recipe,
            "parameters": order.parameters}
    try:
        run = client.train(labels={"napari/training": "1"}, **what)
    except Refused as error:
        if error.reason != "dataset-problems":
            raise
        plan = client.plan_training(**what)
        problems = [f.text for f in plan.findings if not f.warning]
        more = [f"… and {plan.problem_count - _MOST_NAMED} more."] if plan.problem_count > _MOST_NAMED else []
        raise Refused("\n".join(["the server refuses to train on this:", *problems[:_MOST_NAMED], *more]), error.request_id, error.reason) from None
    return Started(run.id, sent, there, replaced, client.dataset(order.dataset).groups_across_splits, tuple(map(str, run.warnings[:_MOST_NAMED])))


def _known(example: Example, labels: np.ndarray) -> tuple[np.ndarray | None, bioseg.Annotation | None]:
    """What the server is told about where labels come from: drawn, a model's and looked at, or a model's of which what was changed counts."""
    if not example.changed:
        return None, bioseg.Annotation(predicted=True, done=True) if example.predicted else None
    prediction = example.prediction()
    if np.array_equal(prediction, labels):
        raise InvalidRequest(f"nothing has been changed in {example.name} since it was segmented: correct it, or mark everything in it done")
    return prediction, bioseg.Annotation(predicted=True)


def _dataset(client: bioseg.Client, name: str) -> list[bioseg.Pair]:
    try:
        client.create_dataset(name, description="Corrected in napari")
        return []
    except AlreadyExists:
        return list(client.pairs(name))


def _check_splits(order: TrainOrder, held: Sequence[bioseg.Pair]) -> None:
    splits = [e.split for e in order.examples] + [p.split for p in held]
    for split, what in ((TRAINING, "to learn from"), (VALIDATION, "to judge by")):
        if split not in splits:
            other = "validation" if split == TRAINING else "training"
            raise InvalidRequest(f"what is done is all for {other}: a run needs something {what} too. Mark another image, plane or box done, or "
                                 "change what one of them is for")


def _free_name(name: str, taken: set[str]) -> str:
    found = name
    for n in range(2, 10000):
        if found not in taken:
            return found
        found = f"{printable(name, 245)} ({n})"
    raise InvalidRequest(f"the dataset has ten thousand pairs called {name}")


def _make_room(client: bioseg.Client, dataset: str, pair: bioseg.Pair) -> None:
    try:
        client.delete_pair(dataset, pair)
    except Refused as error:
        raise Refused(f"the labels of {pair.name} have been corrected since they were sent, but a run that has not finished needs those that "
                      f"{dataset} has: wait for it, cancel it, or write another name under Dataset. ({error.message})") from None


# Following.


@dataclass(frozen=True)
class Shown:
    """A curve as it is drawn: of at most some hundred points."""

    steps: np.ndarray        # middle of each bin
    loss: np.ndarray         # running mean there
    low: np.ndarray          # least and largest loss of a single step in the bin
    high: np.ndarray
    validation_steps: np.ndarray
    validation_loss: np.ndarray
    best_step: int | None = None
    best_loss: float | None = None
    last: bioseg.TrainingEvent | None = None


class Curve:
    """Takes the events of a run, also of several threads, and gives what is drawn of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: list[int] = []
        self._loss: list[float] = []
        self._mean: list[float] = []
        self._validated: dict[int, float] = {}
        self._best: tuple[int | None, float | None] = None, None
        self._last: bioseg.TrainingEvent | None = None
        self.count = 0  # grows with every event

    @property
    def step(self) -> int:
        """The last one that was told."""
        return self._last.step if self._last else 0

    def take(self, event: bioseg.TrainingEvent) -> None:
        with self._lock:
            self.count += 1
            self._last = event
            if event.validation_loss is not None:
                self._validated[event.step] = event.validation_loss
                self._best = event.best_step, event.best_validation_loss
            elif np.isfinite(event.train_loss):
                # A mean of all at first, of the last twenty or so then.
                weight = min(_SMOOTHING, 1 - 1 / (len(self._loss) + 1))
                self._mean.append(weight * self._mean[-1] + (1 - weight) * event.train_loss if self._mean else event.train_loss)
                self._steps.append(event.step)
                self._loss.append(event.train_loss)

    def shown(self) -> Shown:
        with self._lock:
            steps, loss, mean = np.array(self._steps, np.int64), np.array(self._loss), np.array(self._mean)
            validated = sorted(self._validated.items())
            best, last = self._best, self._last
        size = max(1, -(-len(steps) // _MOST_POINTS))
        edges = np.arange(0, len(steps), size)
        if len(steps):
            ends = np.append(edges[1:], len(steps)) - 1
            steps, mean, low, high = steps[ends], mean[ends], np.minimum.reduceat(loss, edges), np.maximum.reduceat(loss, edges)
        else:
            low = high = loss
        few = validated[::max(1, -(-len(validated) // _MOST_POINTS))]
        return Shown(steps, mean, low, high, np.array([s for s, _ in few], np.int64), np.array([v for _, v in few], float), *best, last)


class Follower:
    """Reads a run's events in a thread of its own until it is done or paused; goes on over broken connections for as long as it takes."""

    def __init__(self, client: bioseg.Client, run_id: str, curve: Curve | None = None):
        self.run_id = run_id
        self.curve = curve or Curve()
        self.lost = False                     # the connection is gone at the moment
        self.error: BiosegError | None = None  # why nothing more comes
        self.ended = False
        self._run = bioseg.TrainingRun(client, run_id)
        self._stoppable = bioseg.client.Stoppable()

    def follow(self) -> None:
        """In the thread."""
        try:
            while not self._stoppable.stopped:
                try:
                    for event in self._run._events(self.curve.step, 0, self._stoppable):
                        self.lost = False
                        self.curve.take(event)
                    return
                except NotReachable:
                    self.lost = True
                    time.sleep(_RETRY_SECONDS)
        except BiosegError as error:
            self.error = error
        finally:
            self.ended = True

    def stop(self) -> None:
        """Any thread; does not wait."""
        self._stoppable.stop()
