"""Training: runs that the server keeps, followed live, paused, resumed, given another learning rate, and the model in the end."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from . import _requests as req
from ._handles import JobHandle, Stoppable
from ._progress import Report, finish, reporter
from .errors import Cancelled, DamagedResult, InvalidRequest, JobFailed, NotFound, Refused, from_rpc
from .results import Job, Model, Parameter, Progress
from .v1 import training_pb2 as training

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Finding", "Metrics", "Sample", "TrainingCalls", "TrainingEvent", "TrainingPlan", "TrainingRun"]

_CONFIG = ("dataset", "model", "architecture", "from", "recipe", "seed", "parameters")


@dataclass(frozen=True)
class TrainingEvent:
    """What a run tells of one step; or of a validation, which follows the step after which it was made (`validation_loss` is None of a step).
    train_loss: of the step; of a validation the mean since the one before. images_per_second, seconds_left: None until they are known."""

    step: int
    epoch: int
    train_loss: float
    learning_rate: float
    validation_loss: float | None = None
    best_validation_loss: float | None = None
    best_step: int | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def is_validation(self) -> bool:
        return self.validation_loss is not None

    @classmethod
    def from_message(cls, m: training.WatchMetricsResponse) -> TrainingEvent:
        v = m.values
        best = v.get("best_step")
        return cls(m.step, m.epoch, v.get("train_loss", float("nan")), v.get("learning_rate", float("nan")), v.get("validation_loss"),
                   v.get("best_validation_loss"), None if best is None else int(best), v.get("images_per_second"), v.get("seconds_left"))


@dataclass(frozen=True)
class Sample:
    """What the network made of a validation image at a step, for the eye only: uint8 (c, y, x) each. target and prediction: 0 to 1 as 0 to 255;
    reduction: pixels of the image along a side that became one."""

    step: int
    image: np.ndarray
    target: np.ndarray
    prediction: np.ndarray
    reduction: int

    @classmethod
    def from_message(cls, s: training.GetSampleResponse) -> Sample:
        n, m = s.channels, s.target_channels
        if len(s.planes) != (n + 2 * m) * s.height * s.width:
            raise DamagedResult("the picture of a validation is not of the size that it says")
        planes = np.frombuffer(s.planes, np.uint8).reshape(n + 2 * m, s.height, s.width)
        return cls(s.step, planes[:n], planes[n:n + m], planes[n + m:], s.reduction)


@dataclass(frozen=True)
class Finding:
    """Something about a dataset. warning: a run begins all the same. pair: its name; "": it concerns the whole. text: for people."""

    kind: str
    warning: bool
    pair: str
    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def from_message(cls, f: training.DatasetFinding) -> Finding:
        return cls(f.kind, f.warning, f.pair, f.text)


@dataclass(frozen=True)
class TrainingPlan:
    """What a run would be. left_out: pairs that are a model's predictions which nobody has marked done. findings: what is wrong with the
    dataset, problems first, at most a thousand of problem_count + warning_count."""

    planned_bytes: int
    parameters: int
    steps: int
    steps_per_epoch: int
    train_count: int
    validation_count: int
    left_out: tuple[str, ...]
    dataset_sha256: str
    config: dict[str, Any]
    findings: tuple[Finding, ...]
    problem_count: int
    warning_count: int

    @classmethod
    def from_message(cls, p: training.TrainingPlan) -> TrainingPlan:
        return cls(p.planned_bytes, p.parameters, p.steps, p.steps_per_epoch, p.train_count, p.validation_count, tuple(p.left_out), p.dataset_sha256,
                   json.loads(p.config_json) if p.config_json else {}, tuple(map(Finding.from_message, p.findings)), p.problem_count, p.warning_count)


@dataclass(frozen=True)
class Metrics:
    """What a run has told so far, as columns. Of its steps: steps, train_loss, learning_rate; of its validations: validation_steps,
    validation_loss. best_step, best_validation_loss: None before the first validation."""

    steps: np.ndarray
    train_loss: np.ndarray
    learning_rate: np.ndarray
    validation_steps: np.ndarray
    validation_loss: np.ndarray
    best_step: int | None
    best_validation_loss: float | None

    @classmethod
    def of(cls, events: Iterable[TrainingEvent]) -> Metrics:
        told = list(events)
        steps = [e for e in told if not e.is_validation]
        scores = [e for e in told if e.is_validation]

        def column(of: list[TrainingEvent], name: str, dtype: Any = np.float64) -> np.ndarray:
            return np.array([getattr(e, name) for e in of], dtype)

        return cls(column(steps, "step", np.int64), column(steps, "train_loss"), column(steps, "learning_rate"), column(scores, "step", np.int64),
                   column(scores, "validation_loss"), scores[-1].best_step if scores else None, scores[-1].best_validation_loss if scores else None)


class TrainingRun(JobHandle):
    """A training run on the server, by its id. It goes on whether or not this program does; `Client.training_run(id)` finds it again.
    warnings: what a person should judge about the dataset, of a run that this program has started."""

    def __init__(self, client: Client, job_id: str, warnings: tuple[Finding, ...] = ()):
        super().__init__(client, job_id)
        self.warnings = warnings

    def __repr__(self) -> str:
        return f"<TrainingRun {self.id} at {self._client.address}>"

    @property
    def best(self) -> str:
        """The best weights so far, as a model to segment with, while the run goes on and later. NotFound before the first validation."""
        return f"job:{self.id}"

    def events(self, after_step: int = 0, patience: float = 300) -> Iterator[TrainingEvent]:
        """Every step and validation after that step, as they come, until the run is done or paused. A connection that breaks is made again,
        for `patience` seconds; nothing is told twice."""
        return self._events(after_step, patience, Stoppable())

    def _events(self, after_step: int, patience: float, stoppable: Stoppable) -> Iterator[TrainingEvent]:
        step, validated, give_up, begun = after_step, -1, None, False
        while not stoppable.stopped:
            call = self._client._calls["Training/WatchMetrics"](training.WatchMetricsRequest(job_id=self.id, after_step=step),
                                                                metadata=self._client._metadata)
            stoppable.attach(call)
            try:
                for message in call:
                    give_up, begun = None, True
                    event = TrainingEvent.from_message(message)
                    if event.is_validation and event.step <= validated:
                        continue  # told again, because it belongs to the step after which we asked
                    if event.is_validation:
                        validated = event.step
                    step = max(step, event.step)
                    yield event
                job = self.status()
                if job.done or job.state == "paused":
                    return
                give_up = give_up or time.monotonic() + patience
            except grpc.RpcError as error:
                if stoppable.stopped:
                    return
                if error.code() != grpc.StatusCode.UNAVAILABLE or not (begun or self._client._reached):
                    raise from_rpc(error, self._client.address, begun) from None
                give_up = give_up or time.monotonic() + patience
                if time.monotonic() > give_up:
                    raise from_rpc(error, self._client.address, True) from None
            finally:
                call.cancel()
            time.sleep(0.5)

    def metrics(self) -> Metrics:
        """What has been told so far; does not wait for more."""
        job = self.status()
        told: list[TrainingEvent] = []
        if job.progress.done or job.done:
            for event in self.events():
                told.append(event)
                if event.step >= job.progress.done and not (job.done or job.state == "paused"):
                    break
        return Metrics.of(told)

    def sample(self) -> Sample:
        """What the network made of an image at the last validation. NotFound before the first one."""
        return Sample.from_message(self._client._unary("Training/GetSample", training.GetSampleRequest(job_id=self.id)))

    def wait(self, progress: Report = None, patience: float = 300, event: Callable[[TrainingEvent], None] | None = None) -> Job:
        """Waits until it is done or paused, whatever the outcome. event: called with each TrainingEvent, from the first one on."""
        report = reporter(progress)
        total = self.status().progress.total
        try:
            for told in self.events(patience=patience):
                report(Progress("steps", told.step, total))
                if event is not None:
                    event(told)
        finally:
            finish(report)
        return self.status()

    def result(self, progress: Report = None, event: Callable[[TrainingEvent], None] | None = None) -> Model:  # type: ignore[override]
        """Waits, then tells the model version that the run made. JobFailed and Cancelled carry the run's own words; Refused: it is paused."""
        job = self.wait(progress, event=event)
        if job.state == "failed":
            raise JobFailed(f"run {self.id} failed: {job.error}")
        if job.state == "cancelled":
            raise Cancelled(f"run {self.id} was cancelled")
        if job.state == "paused":
            raise Refused(f"run {self.id} is paused: {job.error}; resume() goes on")
        return self._client.model(job.model)

    def pause(self) -> Job:
        """Lets the run write a checkpoint and wait. It may still be "running" in the answer."""
        return Job.from_message(self._client._unary("Training/Pause", training.PauseTrainingRequest(job_id=self.id)).job)

    def resume(self) -> Job:
        """Goes on from the last checkpoint: a run that is paused, was cancelled or has failed. The same bits as if it had never stopped."""
        return Job.from_message(self._client._unary("Training/Resume", training.ResumeTrainingRequest(job_id=self.id)).job)

    def set_learning_rate(self, rate: float) -> Job:
        """From the next step on; the schedule goes on from it."""
        request = training.SetLearningRateRequest(job_id=self.id, learning_rate=rate)
        return Job.from_message(self._client._unary("Training/SetLearningRate", request).job)


def training_spec(config: Mapping[str, Any] | None, given: Mapping[str, Any]) -> training.TrainingSpec:
    """A spec from a config and arguments, which count more."""
    wanted = dict(config or {})
    unknown = [k for k in wanted if k not in _CONFIG]
    if unknown:
        raise InvalidRequest(f"{', '.join(map(repr, unknown))}: a config has {', '.join(_CONFIG)}")
    parameters = {**(wanted.get("parameters") or {}), **(given.get("parameters") or {})}
    wanted.update({k: v for k, v in given.items() if v is not None})
    if given.get("architecture") is not None and given.get("from") is None:
        wanted.pop("from", None)
    if given.get("from") is not None and given.get("architecture") is None:
        wanted.pop("architecture", None)
    for name, what in (("dataset", "the images to train on"), ("model", "the name that the weights get")):
        if not wanted.get(name):
            raise InvalidRequest(f"{name} is missing: {what}")
    if not wanted.get("architecture") and not wanted.get("from"):
        raise InvalidRequest("either an architecture (unet, unetr, vimunet) or a model to train on is needed: architecture=..., or initial=...")
    dataset, seed = wanted["dataset"], wanted.get("seed") or 0
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
        raise InvalidRequest(f"seed={seed!r}: a whole number from 0 to 2^63 - 1")
    spec = training.TrainingSpec(architecture=wanted.get("architecture") or "", dataset=dataset if isinstance(dataset, str) else dataset.name,
                                 recipe=wanted.get("recipe") or "", model_name=wanted["model"], seed=seed)
    if wanted.get("from"):
        spec.initial.CopyFrom(req.model_ref(wanted["from"]))
    for name, value in parameters.items():
        if isinstance(value, (bool, str, int, float)):
            spec.parameters[name].CopyFrom(req.parameter_value(value))
        else:
            raise InvalidRequest(f"parameters: {name}={value!r} is neither a number, a word nor true or false")
    return spec


class TrainingCalls:
    """What bioseg.Client can do about training."""

    _unary: Any
    jobs: Any

    def training_parameters(self, architecture: str, recipe: str = "") -> tuple[Parameter, ...]:
        """What can be set, with ranges and the recipe's defaults. recipe: "distances" (the default) or "boundaries"."""
        request = training.DescribeTrainingRequest(architecture=architecture, recipe=recipe)
        return tuple(map(Parameter.from_message, self._unary("Training/Describe", request).parameters))

    def train(self: Client, config: Mapping[str, Any] | None = None, *, dataset: Any = None, model: str | None = None,  # type: ignore[misc]
              architecture: str | None = None, initial: Any = None, recipe: str | None = None, parameters: Mapping[str, Any] | None = None,
              seed: int | None = None, key: str | None = None, labels: Mapping[str, str] | None = None, project: str = "") -> TrainingRun:
        """Queues a run, which the server keeps and runs whatever happens. Once this returns, it is safe on the server's disk.

        config: a dict of what a file for `bioseg train --config` has (what yaml.safe_load makes of it): dataset, model, architecture or from,
        recipe, seed, parameters. The other arguments are the same by themselves, and count more; `initial` is its "from".
        dataset: name of one, with pairs for training and for validation; the run keeps to what is in it now.
        model: the name that the best weights get in the end; a name that is there gets a new version.
        architecture: "unet", "unetr" or "vimunet", to begin with random weights; or initial: the model to train on.
        recipe: "distances" or "boundaries". parameters: what differs from the defaults; `training_parameters` lists them.
        key: the same key with the same request gives the first run again. labels: your own marks.
        Refused with the reason "dataset-problems": `plan_training` lists them.
        """
        spec = training_spec(config, {"dataset": dataset, "model": model, "architecture": architecture, "from": initial, "recipe": recipe,
                                      "seed": seed, "parameters": parameters})
        request = training.StartTrainingRequest(idempotency_key=key or req.new_key(), project=project, labels=dict(labels or {}), spec=spec)
        answer = self._unary("Training/Start", request)
        return TrainingRun(self, answer.job.id, tuple(map(Finding.from_message, answer.warnings)))

    def plan_training(self: Client, config: Mapping[str, Any] | None = None, *, dataset: Any = None, model: str | None = None,  # type: ignore[misc]
                      architecture: str | None = None, initial: Any = None, recipe: str | None = None,
                      parameters: Mapping[str, Any] | None = None, seed: int | None = None) -> TrainingPlan:
        """Checks everything that `train` would with the same arguments, all images of the dataset included, and starts nothing."""
        spec = training_spec(config, {"dataset": dataset, "model": model, "architecture": architecture, "from": initial, "recipe": recipe,
                                      "seed": seed, "parameters": parameters})
        return TrainingPlan.from_message(self._unary("Training/Start", training.StartTrainingRequest(dry_run=True, spec=spec)).plan)

    def training_run(self: Client, job_id: str) -> TrainingRun:  # type: ignore[misc]
        """A run started before, by this or another program of the same user. NotFound if there is none, or if it is a job of another kind."""
        run = TrainingRun(self, job_id)
        if run.status().kind != "train":
            raise NotFound(f"job {job_id} is no training run")
        return run

    def training_runs(self, *, state: str | None = None, labels: Mapping[str, str] | None = None) -> Iterator[Job]:
        """The caller's training runs, newest first."""
        return (job for job in self.jobs(state=state, labels=labels) if job.kind == "train")
