"""Handles of work that the server keeps: jobs by their id, and what stops a call that waits for them."""
from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from . import _requests as req
from ._progress import Report, finish, reporter
from .errors import Cancelled, JobFailed, from_rpc
from .results import Job, Result, StreamedResult
from .v1 import jobs_pb2 as jobs

if TYPE_CHECKING:
    from .client import Client

__all__ = ["JobHandle", "Stoppable"]


class Stoppable:
    """Something that waits for a call, and may be told by another thread to stop."""

    def __init__(self) -> None:
        self.stopped = False
        self._call: Any = None

    def attach(self, call: Any) -> None:
        self._call = call
        if self.stopped:
            call.cancel()

    def stop(self) -> None:
        self.stopped = True
        if self._call is not None:
            self._call.cancel()


class JobHandle:
    """A job on the server, by its id. It goes on whether or not this program does; `Client.job(id)` finds it again."""

    def __init__(self, client: Client, job_id: str):
        self._client = client
        self.id = job_id

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} at {self._client.address}>"

    def status(self) -> Job:
        return Job.from_message(self._client._unary("Jobs/Get", jobs.GetJobRequest(id=self.id)).job)

    def watch(self, patience: float = 300) -> Iterator[Job]:
        """The job now and after every change until it is done. A connection that breaks is made again, for `patience` seconds."""
        return self._watch(patience, Stoppable())

    def _watch(self, patience: float, stoppable: Stoppable) -> Iterator[Job]:
        revision, give_up = 0, None
        while not stoppable.stopped:
            call = self._client._calls["Jobs/Watch"](jobs.WatchJobRequest(id=self.id, after_revision=revision),
                                                     metadata=self._client._metadata)
            stoppable.attach(call)
            try:
                for answer in call:
                    give_up = None
                    job = Job.from_message(answer.job)
                    revision = job.revision
                    yield job
                    if job.done:
                        return
                give_up = give_up or time.monotonic() + patience
            except grpc.RpcError as error:
                if stoppable.stopped:
                    return
                if error.code() != grpc.StatusCode.UNAVAILABLE or not revision:
                    raise from_rpc(error, self._client.address, bool(revision)) from None
                give_up = give_up or time.monotonic() + patience
                if time.monotonic() > give_up:
                    raise from_rpc(error, self._client.address, True) from None
            finally:
                call.cancel()
            time.sleep(0.5)

    def wait(self, progress: Report = None, patience: float = 300) -> Job:
        """Waits until it is done, whatever the outcome."""
        report = reporter(progress)
        job = None
        try:
            for job in self.watch(patience):
                report(job.progress)
        finally:
            finish(report)
        assert job is not None
        return job

    def result(self, progress: Report = None, outputs: Iterable[str] | None = None) -> Result:
        """Waits, then fetches the result. JobFailed and Cancelled carry the job's own words."""
        job = self.wait(progress)
        if job.state == "failed":
            raise JobFailed(f"job {self.id} failed: {job.error}")
        if job.state == "cancelled":
            raise Cancelled(f"job {self.id} was cancelled")
        wanted = req.output_set(outputs) if outputs is not None else None
        request = jobs.GetJobResultRequest(id=self.id, outputs=sorted(wanted or ()))
        assembled = StreamedResult(wanted)
        report = reporter(progress)
        try:
            for event in self._client._calls["Jobs/GetResult"](request, metadata=self._client._metadata):
                step = assembled.take(event)
                if step is not None:
                    report(step)
        except grpc.RpcError as error:
            raise from_rpc(error, self._client.address, assembled.begun) from None
        finally:
            finish(report)
        return assembled.result()

    def cancel(self) -> Job:
        return Job.from_message(self._client._unary("Jobs/Cancel", jobs.CancelJobRequest(id=self.id)).job)

    def delete(self) -> None:
        """Forgets the finished job and its result."""
        self._client._unary("Jobs/Delete", jobs.DeleteJobRequest(id=self.id))
