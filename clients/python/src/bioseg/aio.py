"""The client for asyncio: what bioseg.client has, as coroutines and asynchronous iterators.

    async with bioseg.aio.Client() as client:
        result = await client.segment(image, model="unet-nuclei")

Cancelling a task cancels its work at the server. Underneath is the blocking client with threads of its own: grpcio's asyncio calls lose the
server's sentence when it refuses an image before all of it was sent. Progress functions are called in the event loop.
"""
from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import client as blocking
from ._progress import Report, finish, reporter
from ._datasets import Annotation, Dataset, Pair
from ._training import Metrics, Sample, TrainingEvent, TrainingPlan
from .results import AliasMove, Job, KeptMaps, LineageStep, Model, Parameter, Plan, Preview, Progress, Result, ServerInfo

__all__ = ["Client", "JobHandle", "TrainingRun"]

_END = object()


def _in_loop(progress: Report) -> tuple[Callable[[Progress], None] | None, Callable[[], None]]:
    """A function for another thread that reports in this loop, and one that ends the report."""
    if not progress:
        return None, lambda: None
    report = reporter(progress)
    loop = asyncio.get_running_loop()
    return lambda p: loop.call_soon_threadsafe(report, p) and None, lambda: finish(report)


class JobHandle:
    """A job on the server, by its id; see bioseg.JobHandle."""

    def __init__(self, client: Client, handle: blocking.JobHandle):
        self._client = client
        self._handle = handle
        self.id = handle.id

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} at {self._client.address}>"

    async def status(self) -> Job:
        return await self._client._run(self._handle.status)

    async def watch(self, patience: float = 300) -> AsyncIterator[Job]:
        """The job now and after every change until it is done; a broken connection is made again for `patience` seconds."""
        stoppable = blocking.Stoppable()
        jobs = self._handle._watch(patience, stoppable)
        try:
            while (job := await self._client._run(next, jobs, _END)) is not _END:
                yield job
        finally:
            stoppable.stop()

    async def wait(self, progress: Report = None, patience: float = 300) -> Job:
        """Waits until it is done, whatever the outcome."""
        report = reporter(progress)
        job = None
        try:
            async for job in self.watch(patience):
                report(job.progress)
        finally:
            finish(report)
        assert job is not None
        return job

    async def result(self, progress: Report = None, outputs: Iterable[str] | None = None) -> Result:
        """Waits, then fetches the result."""
        await self.wait(progress)
        return await self._client._run(functools.partial(self._handle.result, outputs=outputs))

    async def cancel(self) -> Job:
        return await self._client._run(self._handle.cancel)

    async def delete(self) -> None:
        await self._client._run(self._handle.delete)


class TrainingRun(JobHandle):
    """A training run on the server, by its id; see bioseg.TrainingRun."""

    _handle: blocking.TrainingRun

    def __repr__(self) -> str:
        return f"<TrainingRun {self.id} at {self._client.address}>"

    @property
    def best(self) -> str:
        """The best weights so far, as a model to segment with."""
        return self._handle.best

    async def events(self, after_step: int = 0, patience: float = 300) -> AsyncIterator[TrainingEvent]:
        """Every step and validation after that step, as they come, until the run is done or paused."""
        stoppable = blocking.Stoppable()
        told = self._handle._events(after_step, patience, stoppable)
        try:
            while (event := await self._client._run(next, told, _END)) is not _END:
                yield event
        finally:
            stoppable.stop()

    async def sample(self) -> Sample:
        return await self._client._run(self._handle.sample)

    async def metrics(self) -> Metrics:
        return await self._client._run(self._handle.metrics)

    async def wait(self, progress: Report = None, patience: float = 300, event: Callable[[TrainingEvent], None] | None = None) -> Job:
        """Waits until it is done or paused, whatever the outcome."""
        report = reporter(progress)
        total = (await self.status()).progress.total
        try:
            async for told in self.events(patience=patience):
                report(Progress("steps", told.step, total))
                if event is not None:
                    event(told)
        finally:
            finish(report)
        return await self.status()

    async def result(self, progress: Report = None, event: Callable[[TrainingEvent], None] | None = None) -> Model:  # type: ignore[override]
        """Waits, then tells the model version that the run made."""
        await self.wait(progress, event=event)
        return await self._client._run(self._handle.result)

    async def pause(self) -> Job:
        return await self._client._run(self._handle.pause)

    async def resume(self) -> Job:
        return await self._client._run(self._handle.resume)

    async def set_learning_rate(self, rate: float) -> Job:
        return await self._client._run(self._handle.set_learning_rate, rate)


class Client:
    """A connection to a server; arguments and methods as bioseg.Client."""

    def __init__(self, server: str | None = None, *, threads: int = 32, **settings: Any):
        self._client = blocking.Client(server, **settings)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="bioseg")

    @property
    def address(self) -> str:
        return self._client.address

    async def close(self) -> None:
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def info(self) -> ServerInfo:
        return await self._run(self._client.info)

    async def segment(self, image: Any, *, model: Any, progress: Report = None, preview: Callable[[Preview], None] | None = None,
                      **options: Any) -> Result:
        """Segments an image; arguments as bioseg.Client.segment."""
        loop = asyncio.get_running_loop()
        show = None if preview is None else functools.partial(loop.call_soon_threadsafe, preview)
        running = await self._run(functools.partial(self._client.start, image, model=model, preview=show, **options))
        report, end = _in_loop(progress)
        try:
            return await self._run(running.result, report)
        except asyncio.CancelledError:
            running.cancel()
            raise
        finally:
            end()

    async def relabel(self, kept: KeptMaps | Result, **options: Any) -> Result:
        """New labels from maps that the server keeps; arguments as bioseg.Client.relabel."""
        running = await self._run(functools.partial(self._client.start_relabel, kept, **options))
        try:
            return await self._run(running.result)
        except asyncio.CancelledError:
            running.cancel()
            raise

    async def submit(self, image: Any, *, model: Any, progress: Report = None, **options: Any) -> JobHandle:
        """Hands in a job; arguments as bioseg.Client.submit."""
        report, end = _in_loop(progress)
        try:
            call = functools.partial(self._client.submit, image, model=model, progress=report, **options)
            return JobHandle(self, await self._run(call))
        finally:
            end()

    async def plan(self, image: Any, *, model: Any, **options: Any) -> Plan:
        """What such a job would need, without doing or sending it."""
        return await self._run(functools.partial(self._client.plan, image, model=model, **options))

    async def job(self, job_id: str) -> JobHandle:
        return JobHandle(self, await self._run(self._client.job, job_id))

    async def jobs(self, *, state: str | None = None, labels: Mapping[str, str] | None = None,
                   model: str | None = None) -> AsyncIterator[Job]:
        found = self._client.jobs(state=state, labels=labels, model=model)
        while (job := await self._run(next, found, _END)) is not _END:
            yield job

    async def models(self, *, labels: Mapping[str, str] | None = None, untrained: bool = False) -> list[Model]:
        return await self._run(functools.partial(self._client.models, labels=labels, untrained=untrained))

    async def model(self, reference: str) -> Model:
        return await self._run(self._client.model, reference)

    async def import_model(self, path: str | os.PathLike, name: str, *, labels: Mapping[str, str] | None = None) -> Model:
        return await self._run(functools.partial(self._client.import_model, path, name, labels=labels))

    async def lineage(self, reference: str) -> list[LineageStep]:
        return await self._run(self._client.lineage, reference)

    async def promote(self, reference: str, reason: str = "") -> Model:
        return await self._run(self._client.promote, reference, reason)

    async def rollback(self, name: str, alias: str = "", reason: str = "") -> Model:
        return await self._run(self._client.rollback, name, alias, reason)

    async def alias_moves(self, name: str, alias: str = "") -> AsyncIterator[AliasMove]:
        found = self._client.alias_moves(name, alias)
        while (move := await self._run(next, found, _END)) is not _END:
            yield move

    # Datasets.

    async def create_dataset(self, name: str, **options: Any) -> Dataset:
        return await self._run(functools.partial(self._client.create_dataset, name, **options))

    async def dataset(self, name: str) -> Dataset:
        return await self._run(self._client.dataset, name)

    async def datasets(self, **filters: Any) -> AsyncIterator[Dataset]:
        found = self._client.datasets(**filters)
        while (dataset := await self._run(next, found, _END)) is not _END:
            yield dataset

    async def delete_dataset(self, dataset: Any) -> None:
        await self._run(self._client.delete_dataset, dataset)

    async def pairs(self, dataset: Any, *, split: str | None = None) -> AsyncIterator[Pair]:
        found = self._client.pairs(dataset, split=split)
        while (pair := await self._run(next, found, _END)) is not _END:
            yield pair

    async def add_pair(self, dataset: Any, image: Any, labels: Any, *, progress: Report = None, **options: Any) -> Pair:
        """Adds an image with its labels; arguments as bioseg.Client.add_pair."""
        report, end = _in_loop(progress)
        try:
            return await self._run(functools.partial(self._client.add_pair, dataset, image, labels, progress=report, **options))
        finally:
            end()

    async def annotate(self, dataset: Any, pair: Any, annotation: Annotation | None) -> Pair:
        return await self._run(self._client.annotate, dataset, pair, annotation)

    async def delete_pair(self, dataset: Any, pair: Any) -> None:
        await self._run(self._client.delete_pair, dataset, pair)

    # Training.

    async def training_parameters(self, architecture: str, recipe: str = "") -> tuple[Parameter, ...]:
        return await self._run(self._client.training_parameters, architecture, recipe)

    async def train(self, config: Mapping[str, Any] | None = None, **options: Any) -> TrainingRun:
        """Queues a run; arguments as bioseg.Client.train."""
        return TrainingRun(self, await self._run(functools.partial(self._client.train, config, **options)))

    async def plan_training(self, config: Mapping[str, Any] | None = None, **options: Any) -> TrainingPlan:
        """Checks everything and starts nothing; arguments as bioseg.Client.plan_training."""
        return await self._run(functools.partial(self._client.plan_training, config, **options))

    async def training_run(self, job_id: str) -> TrainingRun:
        return TrainingRun(self, await self._run(self._client.training_run, job_id))

    async def training_runs(self, **filters: Any) -> AsyncIterator[Job]:
        found = self._client.training_runs(**filters)
        while (job := await self._run(next, found, _END)) is not _END:
            yield job
