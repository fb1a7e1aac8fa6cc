"""The client for asyncio: what bioseg.client has, as coroutines and asynchronous iterators.

    async with bioseg.aio.Client() as client:
        result = await client.segment(image, model="unet-nuclei")

Cancelling the task cancels the work at the server. Reading an array that is not in memory (dask, a file) happens in a thread.
"""
from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

import grpc
import grpc.aio

from . import _requests as req
from ._connection import Settings
from ._images import PixelSize, describe, message_parts
from ._progress import Report, finish, reporter
from .errors import BiosegError, Cancelled, JobFailed, from_rpc
from .results import Job, Model, Progress, Result, ServerInfo, StreamedResult
from .v1 import jobs_pb2 as jobs
from .v1 import models_pb2 as models
from .v1 import segmentation_pb2 as seg
from .v1 import server_pb2 as server

__all__ = ["Client", "JobHandle"]

_END = object()


async def _in_thread(messages: Iterator[Any]) -> AsyncIterator[Any]:
    while (message := await asyncio.to_thread(next, messages, _END)) is not _END:
        yield message


class JobHandle:
    """A job on the server, by its id; see bioseg.client.JobHandle."""

    def __init__(self, client: Client, job_id: str):
        self._client = client
        self.id = job_id

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} at {self._client.address}>"

    async def status(self) -> Job:
        return Job.from_message((await self._client._unary("Jobs/Get", jobs.GetJobRequest(id=self.id))).job)

    async def watch(self, patience: float = 300) -> AsyncIterator[Job]:
        """The job now and after every change until it is done; a broken connection is made again for `patience` seconds."""
        revision, give_up = 0, None
        while True:
            call = self._client._calls["Jobs/Watch"](jobs.WatchJobRequest(id=self.id, after_revision=revision),
                                                     metadata=self._client._metadata)
            try:
                async for answer in call:
                    give_up = None
                    job = Job.from_message(answer.job)
                    revision = job.revision
                    yield job
                    if job.done:
                        return
                give_up = give_up or time.monotonic() + patience
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or not revision:
                    raise from_rpc(error, self._client.address, bool(revision)) from None
                give_up = give_up or time.monotonic() + patience
                if time.monotonic() > give_up:
                    raise from_rpc(error, self._client.address, True) from None
            finally:
                call.cancel()
            await asyncio.sleep(0.5)

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
        job = await self.wait(progress)
        if job.state == "failed":
            raise JobFailed(f"job {self.id} failed: {job.error}")
        if job.state == "cancelled":
            raise Cancelled(f"job {self.id} was cancelled")
        wanted = req.output_set(outputs) if outputs is not None else None
        request = jobs.GetJobResultRequest(id=self.id, outputs=sorted(wanted or ()))
        call = self._client._calls["Jobs/GetResult"](request, metadata=self._client._metadata)
        return await self._client._assemble(call, StreamedResult(wanted), progress)

    async def cancel(self) -> Job:
        return Job.from_message((await self._client._unary("Jobs/Cancel", jobs.CancelJobRequest(id=self.id))).job)

    async def delete(self) -> None:
        await self._client._unary("Jobs/Delete", jobs.DeleteJobRequest(id=self.id))


class Client:
    """A connection to a server; arguments and methods as bioseg.Client. Made and used in one event loop."""

    def __init__(self, server: str | None = None, *, token: str | None = None, token_file: str | os.PathLike | None = None,
                 tls_ca: str | os.PathLike | None = None, tls: bool | None = None, tls_name: str | None = None):
        self._settings = Settings.resolve(server, token, token_file, tls_ca, tls, tls_name)
        self._metadata = self._settings.metadata()
        self._channel = self._settings.channel(grpc.aio)
        self._calls = req.make_calls(self._channel)
        self._reached = False

    @property
    def address(self) -> str:
        return self._settings.address

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _unary(self, method: str, request: Any, timeout: float | None = None, patience: float = 10) -> Any:
        give_up = time.monotonic() + patience
        while True:
            try:
                answer = await self._calls[method](request, timeout=timeout, metadata=self._metadata)
                self._reached = True
                return answer
            except grpc.RpcError as error:
                lost = error.code() == grpc.StatusCode.UNAVAILABLE and self._reached
                if not lost or time.monotonic() > give_up:
                    raise from_rpc(error, self.address) from None
            await asyncio.sleep(0.2)

    async def _assemble(self, call: Any, assembled: StreamedResult, progress: Report) -> Result:
        report = reporter(progress)
        try:
            async for event in call:
                step = assembled.take(event)
                if step is not None:
                    report(step)
            return assembled.result()
        except grpc.RpcError as error:
            raise from_rpc(error, self.address, assembled.begun) from None
        finally:
            call.cancel()
            finish(report)

    async def info(self) -> ServerInfo:
        return ServerInfo.from_message(await self._unary("Server/GetInfo", server.GetInfoRequest(), timeout=10))

    async def segment(self, image: Any, *, model: Any, axes: str | None = None, pixel_size: PixelSize = None,
                      channel_names: Iterable[str] | None = None, outputs: Iterable[str] = ("labels", "objects"),
                      progress: Report = None, timeout: float | None = None, **options: Any) -> Result:
        """Segments an image; arguments as bioseg.Client.segment."""
        wanted = req.output_set(outputs)
        source = describe(image, axes, pixel_size, list(channel_names or []))
        spec = req.segment_spec(model, wanted, **options)
        failure: list[BiosegError] = []

        async def messages() -> AsyncIterator[seg.SegmentStreamRequest]:
            try:
                async for message in _in_thread(req.stream_messages(spec, source, None)):
                    yield message
            except BiosegError as error:
                failure.append(error)
                raise

        call = self._calls["Segmentation/SegmentStream"](messages(), timeout=timeout, metadata=self._metadata)
        try:
            result = await self._assemble(call, StreamedResult(wanted), progress)
        except BiosegError:
            if failure:
                raise failure[0] from None
            raise
        self._reached = True
        return result

    async def submit(self, image: Any, *, model: Any, axes: str | None = None, pixel_size: PixelSize = None,
                     channel_names: Iterable[str] | None = None, outputs: Iterable[str] = ("labels", "objects"),
                     key: str | None = None, labels: Mapping[str, str] | None = None, keep_hours: float | None = None,
                     progress: Report = None, **options: Any) -> JobHandle:
        """Hands in a job; arguments as bioseg.Client.submit."""
        source = describe(image, axes, pixel_size, list(channel_names or []))
        spec = req.segment_spec(model, req.output_set(outputs), **options)
        start = req.submit_start(spec, source, key=key or req.new_key(), labels=labels, keep_hours=keep_hours)
        report = reporter(progress)
        messages = req.submit_messages(start, source, lambda n: report(Progress("upload", n, source.total_bytes)))
        try:
            answer = await self._calls["Jobs/Submit"](_in_thread(messages), metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc(error, self.address) from None
        finally:
            finish(report)
        return JobHandle(self, answer.job.id)

    async def job(self, job_id: str) -> JobHandle:
        handle = JobHandle(self, job_id)
        await handle.status()
        return handle

    async def jobs(self, *, state: str | None = None, labels: Mapping[str, str] | None = None,
                   model: str | None = None) -> AsyncIterator[Job]:
        token = ""
        while True:
            answer = await self._unary("Jobs/List", req.list_jobs_request(state, labels, model, token))
            for job in answer.jobs:
                yield Job.from_message(job)
            token = answer.next_page_token
            if not token:
                return

    async def models(self, *, labels: Mapping[str, str] | None = None, untrained: bool = False) -> list[Model]:
        found: list[Model] = []
        token = ""
        while True:
            answer = await self._unary("Models/List", req.list_models_request(labels, untrained, token))
            found += map(Model.from_message, answer.models)
            token = answer.next_page_token
            if not token:
                return found

    async def model(self, reference: str) -> Model:
        return Model.from_message((await self._unary("Models/Get", models.GetModelRequest(model=req.model_ref(reference)))).model)

    async def import_model(self, path: str | os.PathLike, name: str, *, labels: Mapping[str, str] | None = None) -> Model:
        source = describe(path)
        start = models.ImportModelStart(name=name, total_bytes=source.total_bytes, labels=dict(labels or {}))
        messages = message_parts(models.ImportModelRequest, start, source)
        try:
            answer = await self._calls["Models/Import"](_in_thread(messages), metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc(error, self.address) from None
        return Model.from_message(answer.model)
