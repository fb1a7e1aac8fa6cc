"""The blocking client.

    import bioseg
    labels = bioseg.Client().segment(image, model="unet-nuclei").labels

A Client may be used by any number of threads. Everything that can fail raises an exception of bioseg.errors.
"""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc

from . import _requests as req
from ._connection import Settings
from ._datasets import DatasetCalls
from ._handles import JobHandle, Stoppable
from ._images import ImageSource, PixelSize, describe, message_parts
from ._progress import Report, finish, reporter
from ._training import TrainingCalls, TrainingRun
from .errors import BiosegError, Cancelled, ConnectionLost, DamagedResult, InvalidRequest, NotReachable, Refused, from_rpc
from .results import (AliasMove, Job, KeptMaps, LineageStep, Model, Plan, Preview, PreviewPainter, Progress, Result, ServerInfo, StreamedResult,
                      from_unary)
from .v1 import common_pb2 as common
from .v1 import jobs_pb2 as jobs
from .v1 import models_pb2 as models
from .v1 import segmentation_pb2 as seg
from .v1 import server_pb2 as server

__all__ = ["Client", "JobHandle", "Segmentation", "Stoppable", "TrainingRun"]

IMAGE_FILES = (".png", ".tif", ".tiff")


class Segmentation:
    """A segmentation under way. Iterate over it for progress, ask `result()` for the end of it, `cancel()` it from any thread."""

    def __init__(self, client: Client, outputs: frozenset[int], total_bytes: int, make_messages: Callable[[Callable[[int], None]], Any],
                 timeout: float | None, preview: Callable[[Preview], None] | None = None):
        self._client = client
        self._preview, self._painter = preview, PreviewPainter()
        self._assembled = StreamedResult(outputs)
        self._uploaded = 0
        self._total = total_bytes
        self._cancelled = threading.Event()
        self._failure: BiosegError | None = None

        def sent(count: int) -> None:
            self._uploaded = count

        def messages() -> Iterator[Any]:
            try:
                yield from make_messages(sent)
            except BiosegError as error:  # gRPC would hide it behind a status of its own
                self._failure = error
                self._call.cancel()

        self._started = threading.Event()

        def when_started() -> Iterator[Any]:
            self._started.wait()
            yield from messages()

        self._call = client._calls["Segmentation/SegmentStream"](when_started(), timeout=timeout, metadata=client._metadata)
        self._started.set()

    @property
    def uploaded(self) -> Progress:
        """Bytes of the image that have been sent."""
        return Progress("upload", self._uploaded, self._total)

    def __iter__(self) -> Iterator[Progress]:
        try:
            for event in self._call:
                if event.WhichOneof("event") == "preview":
                    if self._preview is not None:
                        self._preview(self._painter.take(event.preview))
                    continue
                progress = self._assembled.take(event)
                if progress is not None:
                    yield progress
        except grpc.RpcError as error:
            raise self._error(error) from None

    def _error(self, error: grpc.RpcError) -> BiosegError:
        if self._failure is not None:
            return self._failure
        if self._cancelled.is_set():
            return Cancelled("the segmentation was cancelled", self._assembled.request_id)
        return from_rpc(error, self._client.address, self._assembled.begun)

    def result(self, progress: Report = None) -> Result:
        """Waits for the end."""
        report = reporter(progress)
        try:
            report(self.uploaded)
            for event in self:
                report(event)
            return self._assembled.result()
        except BaseException:
            self._call.cancel()
            raise
        finally:
            finish(report)

    def cancel(self) -> None:
        """Stops the work at the server; `result()` raises Cancelled."""
        self._cancelled.set()
        self._call.cancel()


class Client(DatasetCalls, TrainingCalls):
    """A connection to a server.

    server: "HOST:PORT" or "unix:PATH"; token or token_file; tls_ca: the server's certificate (a file), tls=True: certificates the system
    trusts; tls_name: the name in the certificate where it differs from the address. What is not given comes from the environment, the file
    `bioseg/client.ini`, or the daemon of this account (see bioseg._connection).
    """

    def __init__(self, server: str | None = None, *, token: str | None = None, token_file: str | os.PathLike | None = None,
                 tls_ca: str | os.PathLike | None = None, tls: bool | None = None, tls_name: str | None = None):
        self._settings = Settings.resolve(server, token, token_file, tls_ca, tls, tls_name)
        self._metadata = self._settings.metadata()
        self._channel = self._settings.channel()
        self._calls = req.make_calls(self._channel)
        self._info: ServerInfo | None = None
        self._reached = False

    @property
    def address(self) -> str:
        return self._settings.address

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _unary(self, method: str, request: Any, timeout: float | None = None, patience: float = 10) -> Any:
        """A call that may be made twice. Once the server has been reached, a broken connection is tried again for `patience` seconds."""
        give_up = time.monotonic() + patience
        while True:
            try:
                answer = self._calls[method](request, timeout=timeout, metadata=self._metadata)
                self._reached = True
                return answer
            except grpc.RpcError as error:
                lost = error.code() == grpc.StatusCode.UNAVAILABLE and self._reached
                if not lost or time.monotonic() > give_up:
                    raise from_rpc(error, self.address) from None
            time.sleep(0.2)

    # The server.

    def info(self) -> ServerInfo:
        """Version, abilities and limits. A cheap way to see whether address and token are right."""
        self._info = ServerInfo.from_message(self._unary("Server/GetInfo", server.GetInfoRequest(), timeout=10))
        return self._info

    # Segmentation.

    def start(self, image: Any, *, model: Any, axes: str | None = None, pixel_size: PixelSize = None,
              channel_names: Iterable[str] | None = None, outputs: Iterable[str] = ("labels", "objects"),
              timeout: float | None = None, preview: Callable[[Preview], None] | None = None, preview_side: int = 0,
              preview_seconds: float = 0, keep_maps: bool = False, **options: Any) -> Segmentation:
        """Like `segment`, without waiting: a Segmentation to follow, cancel, or ask for its result."""
        wanted = req.output_set(outputs)
        source = describe(image, axes, pixel_size, list(channel_names or []))
        spec = req.segment_spec(model, wanted, **options)
        shown = (preview_side, preview_seconds) if preview else None
        return Segmentation(self, wanted, source.total_bytes, lambda sent: req.stream_messages(spec, source, sent, shown, keep_maps), timeout,
                            preview)

    def segment(self, image: Any, *, model: Any, axes: str | None = None, pixel_size: PixelSize = None,
                channel_names: Iterable[str] | None = None, outputs: Iterable[str] = ("labels", "objects"),
                progress: Report = None, timeout: float | None = None, preview: Callable[[Preview], None] | None = None,
                preview_side: int = 0, preview_seconds: float = 0, keep_maps: bool = False, **options: Any) -> Result:
        """Segments an image and waits.

        image: an array (numpy, dask, zarr, ...), the path of a PNG or TIFF file, or the bytes of one.
        model: "name", "name@version", or a Model.
        axes: which axis of an array is what, slowest first: "yx", "yxc", "zyx", ... Needed unless it has two dimensions. For a file whose
        pages say not what they are: "zyx", "tyx" or "cyx".
        pixel_size: side of a pixel in micrometres; (0.3, "um"), {"y": 0.3, "x": 0.3} where it must be said more exactly.
        outputs: of "labels", "objects", "maps".
        progress: True for tqdm bars, or a function that is called with Progress.
        timeout: seconds after which DeadlineExceeded is raised.
        preview: a function that is called with Preview as tiles finish; preview_side: its longest side (1024); preview_seconds: the least time
        between two (0.1).
        keep_maps: the server keeps the network's maps for a while (Result.kept), so that `relabel` needs no network; it also uses maps that
        it has kept of the same image, model and parameters of the network.
        Further options: parameters (a dict; Client.model lists a model's), channel (index or name), no_data, scale,
        target_pixel_size_um, statistics ("image", "block", "region", "stack"), tile, halo, precision ("fp32", "bf16"), min_size_um2;
        region: only this box, (y, x, height, width), with z, depth and t, duration after it for a stack (Region has them by name);
        planes: of a stack, each by itself ("independent") or objects of neighbouring planes along z joined ("linked": linked 2D, not 3D);
        separate_planes: ids begin at 1 in every plane.
        """
        wanted = req.output_set(outputs)
        source = describe(image, axes, pixel_size, list(channel_names or []))
        if progress or preview or source.total_bytes > self._unary_limit():
            return self.start(image, model=model, axes=axes, pixel_size=pixel_size, channel_names=channel_names, outputs=outputs,
                              timeout=timeout, preview=preview, preview_side=preview_side, preview_seconds=preview_seconds,
                              keep_maps=keep_maps, **options).result(progress)
        spec = req.segment_spec(model, wanted, **options)
        return self._segment(seg.SegmentRequest(spec=spec, image=source.description, pixels=source.all_bytes(), keep_maps=keep_maps), wanted,
                             timeout)

    def relabel(self, kept: KeptMaps | Result, *, model: Any = None, outputs: Iterable[str] = ("labels", "objects"),
                timeout: float | None = None, **options: Any) -> Result:
        """New labels from maps that the server keeps (`segment(..., keep_maps=True)`), without the image and without the network.

        kept: the result of before, or its `kept`, which does not know the model. options: parameters, min_size_um2; those of the network are as
        they were before, and Refused if they are given and differ. NotFound: the server does not keep them any more; segment the image again.
        """
        return self.start_relabel(kept, model=model, outputs=outputs, timeout=timeout, **options).result()

    def start_relabel(self, kept: KeptMaps | Result, *, model: Any = None, outputs: Iterable[str] = ("labels", "objects"),
                      timeout: float | None = None, **options: Any) -> Segmentation:
        """Like `relabel`, without waiting."""
        if isinstance(kept, Result):
            if kept.kept is None:
                raise InvalidRequest("the server was not asked to keep the maps of this result: segment(..., keep_maps=True)")
            model, kept = model or kept.provenance["model"], kept.kept
        if model is None:
            raise InvalidRequest("which model made the maps? Give model=, or the result instead of its maps")
        wanted = req.output_set(outputs)
        spec, kept_id = req.segment_spec(model, wanted, **options), kept.id
        return Segmentation(self, wanted, 0, lambda _: req.kept_messages(spec, kept_id), timeout)

    def _segment(self, request: seg.SegmentRequest, wanted: frozenset[int], timeout: float | None) -> Result:
        try:
            answer, call = self._calls["Segmentation/Segment"].with_call(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc(error, self.address) from None
        self._reached = True
        request_id = next((v for k, v in call.trailing_metadata() or () if k == "bioseg-request-id"), None)
        return from_unary(answer, wanted, request_id)

    def _unary_limit(self) -> int:
        return (self._info or self.info()).max_unary_image_bytes

    def segment_files(self, paths: Any, *, model: Any, recursive: bool = False, **options: Any) -> Iterator[tuple[Path, Result | BiosegError]]:
        """Segments files, or the images of a folder, one by one: (path, result), or (path, the error) for one that fails by itself.
        Errors that would fail all of them (no server, no permission) are raised."""
        for path in image_files(paths, recursive):
            try:
                yield path, self.segment(path, model=model, **options)
            except (NotReachable, PermissionError, Cancelled):
                raise
            except BiosegError as error:
                yield path, error

    # Jobs.

    def submit(self, image: Any, *, model: Any, axes: str | None = None, pixel_size: PixelSize = None,
               channel_names: Iterable[str] | None = None, outputs: Iterable[str] = ("labels", "objects"),
               key: str | None = None, labels: Mapping[str, str] | None = None, keep_hours: float | None = None,
               progress: Report = None, **options: Any) -> JobHandle:
        """Hands in a job that the server keeps, runs and remembers. Once this returns, it is safe on the server's disk.

        key: the same key with the same request gives the first job again; made up when None, so that a broken upload is repeated safely.
        labels: your own marks, to find it by. keep_hours: how long the result is kept.
        """
        wanted = req.output_set(outputs)
        source = describe(image, axes, pixel_size, list(channel_names or []))
        spec = req.segment_spec(model, wanted, **options)
        start = req.submit_start(spec, source, key=key or req.new_key(), labels=labels, keep_hours=keep_hours)
        return JobHandle(self, self._submit(start, source, progress).job.id)

    def plan(self, image: Any, *, model: Any, axes: str | None = None, outputs: Iterable[str] = ("labels", "objects"), **options: Any) -> Plan:
        """What such a job would need, without doing or sending it."""
        source = describe(image, axes)
        start = req.submit_start(req.segment_spec(model, req.output_set(outputs), **options), source, key="", dry_run=True)
        plan = self._submit(start, source, None).plan
        return Plan(plan.peak_bytes, plan.seconds or None)

    def _submit(self, start: jobs.SubmitJobStart, source: ImageSource, progress: Report) -> Any:
        report = reporter(progress)
        failure: list[BiosegError] = []

        def messages() -> Iterator[Any]:
            try:
                yield from req.submit_messages(start, source, lambda n: report(Progress("upload", n, source.total_bytes)))
            except BiosegError as error:
                failure.append(error)
                raise

        try:
            for attempt in range(3):
                try:
                    return self._calls["Jobs/Submit"](messages(), metadata=self._metadata)
                except grpc.RpcError as error:
                    if failure:
                        raise failure[0] from None
                    if error.code() != grpc.StatusCode.UNAVAILABLE or not self._reached or attempt == 2:
                        raise from_rpc(error, self.address) from None
                time.sleep(1)
        finally:
            finish(report)
        raise ConnectionLost(f"the connection to {self.address} broke")

    def job(self, job_id: str) -> JobHandle:
        """A job handed in before, by this or another program of the same user. NotFound if there is none."""
        handle = JobHandle(self, job_id)
        handle.status()
        return handle

    def jobs(self, *, state: str | None = None, labels: Mapping[str, str] | None = None, model: str | None = None) -> Iterator[Job]:
        """The caller's jobs, newest first."""
        token = ""
        while True:
            answer = self._unary("Jobs/List", req.list_jobs_request(state, labels, model, token))
            yield from map(Job.from_message, answer.jobs)
            token = answer.next_page_token
            if not token:
                return

    # Models.

    def models(self, *, labels: Mapping[str, str] | None = None, untrained: bool = False) -> list[Model]:
        """Every version of every model. untrained: those whose weights mean nothing too."""
        found: list[Model] = []
        token = ""
        while True:
            answer = self._unary("Models/List", req.list_models_request(labels, untrained, token))
            found += map(Model.from_message, answer.models)
            token = answer.next_page_token
            if not token:
                return found

    def model(self, reference: str) -> Model:
        """One model with its parameters."""
        return Model.from_message(self._unary("Models/Get", models.GetModelRequest(model=req.model_ref(reference))).model)

    def lineage(self, reference: str) -> list[LineageStep]:
        """Which models and data a version was made from, newest first."""
        answer = self._unary("Models/GetLineage", models.GetLineageRequest(model=req.model_ref(reference)))
        return list(map(LineageStep.from_message, answer.steps))

    def promote(self, reference: str, reason: str = "") -> Model:
        """Makes a version what its name alone means (its alias "production"), for everyone. reason: why, for the list of moves."""
        request = models.PromoteModelRequest(model=req.model_ref(reference), reason=reason)
        return Model.from_message(self._unary("Models/Promote", request).model)

    def rollback(self, name: str, alias: str = "", reason: str = "") -> Model:
        """Returns an alias ("production" unless stated) to the version that it meant before, and tells that version."""
        return Model.from_message(self._unary("Models/Rollback", models.RollbackModelRequest(name=name, alias=alias, reason=reason)).model)

    def alias_moves(self, name: str, alias: str = "") -> Iterator[AliasMove]:
        """Every move of a model's aliases, or of one of them: who, when, from which version to which, and why."""
        request = models.ListAliasMovesRequest(name=name, alias=alias, page=common.Page(size=1000))
        while True:
            answer = self._unary("Models/ListAliasMoves", request)
            yield from map(AliasMove.from_message, answer.moves)
            request.page.token = answer.next_page_token
            if not request.page.token:
                return

    def import_model(self, path: str | os.PathLike, name: str, *, labels: Mapping[str, str] | None = None,
                     progress: Report = None) -> Model:
        """Adds a model file (what `bioseg convert` writes) under a name; a name that is there gets a new version."""
        source = describe(path)
        report = reporter(progress)
        start = models.ImportModelStart(name=name, total_bytes=source.total_bytes, labels=dict(labels or {}))
        messages = message_parts(models.ImportModelRequest, start, source,
                                 lambda n: report(Progress("upload", n, source.total_bytes)))
        try:
            return Model.from_message(self._calls["Models/Import"](messages, metadata=self._metadata).model)
        except grpc.RpcError as error:
            raise from_rpc(error, self.address) from None
        finally:
            finish(report)

    def export_model(self, reference: str, path: str | os.PathLike) -> Path:
        """Writes the model file; it appears complete or not at all."""
        path = Path(path)
        if path.exists():
            raise Refused(f"{path} is in the way")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with open(temporary, "wb") as file:
                written, total = 0, -1
                for part in self._calls["Models/Export"](models.ExportModelRequest(model=req.model_ref(reference)),
                                                         metadata=self._metadata):
                    if part.HasField("start"):
                        total = part.start.total_bytes
                    elif part.HasField("chunk"):
                        written += file.write(part.chunk.data)
            if written != total:
                raise DamagedResult(f"{total} bytes were announced, {written} arrived")
            os.replace(temporary, path)
        except grpc.RpcError as error:
            raise from_rpc(error, self.address) from None
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be written: {error.strerror}") from None
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def load(self, reference: str) -> None:
        """Puts the model into the device's memory ahead of its use."""
        self._unary("Models/Load", models.LoadModelRequest(model=req.model_ref(reference)))

    def unload(self, reference: str) -> None:
        self._unary("Models/Unload", models.UnloadModelRequest(model=req.model_ref(reference)))

    def delete_model(self, reference: str) -> None:
        """Removes a version, which must be stated (NAME@VERSION)."""
        self._unary("Models/Delete", models.DeleteModelRequest(model=req.model_ref(reference)))


def image_files(paths: Any, recursive: bool = False) -> list[Path]:
    """The files themselves, and the PNG and TIFF files of folders, in order of name."""
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = path.rglob("*") if recursive else path.glob("*")
            found += sorted(p for p in inside if p.suffix.lower() in IMAGE_FILES and p.is_file())
        else:
            found.append(path)
    return found
