"""What comes back: labels, objects, maps and how they were made; and the messages of a stream put together again."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np

from ._crc32c import crc32c
from .errors import DamagedResult
from .v1 import common_pb2 as common
from .v1 import jobs_pb2 as jobs
from .v1 import models_pb2 as models

__all__ = ["AliasMove", "Job", "KeptMaps", "LineageStep", "Model", "ObjectTable", "Parameter", "Plan", "Preview", "Progress", "Region", "Result", "ServerInfo",
           "ServerWarning", "Training"]


@dataclass(frozen=True)
class ServerWarning:
    """Something about a result that is not an error: `code` for programs, `text` for people."""

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Progress:
    """How far a request is. phase: "upload" (bytes), "tiles", "download" (bytes), of a training run "steps"; total 0: not known yet."""

    phase: str
    done: int
    total: int


class Region(NamedTuple):
    """A box of an image; a size of 0 is all that is left from the first one on."""

    y: int = 0
    x: int = 0
    height: int = 0
    width: int = 0
    z: int = 0
    depth: int = 0
    t: int = 0
    duration: int = 0


@dataclass(frozen=True)
class Preview:
    """The foreground map as far as it is known, reduced, for the eye only. `pixels`: uint8 (y, x), 0 is background (or not known yet), 255
    foreground; yours to keep. `part`: the rows and columns that are new. `pixel`: rows and columns of the image that one pixel stands for.
    Of a region: of its box. Of a stack: of the plane `t`, `z` that is being computed; the next one begins anew."""

    pixels: np.ndarray
    part: tuple[slice, slice]
    pixel: tuple[float, float]
    t: int = 0
    z: int = 0


class PreviewPainter:
    """Puts the parts of a preview together."""

    def __init__(self) -> None:
        self._pixels = np.zeros((0, 0), np.uint8)
        self._plane = (0, 0)

    def take(self, p: Any) -> Preview:
        """A PreviewPart."""
        if not (p.top < p.bottom <= p.height and p.left < p.right <= p.width and len(p.pixels) == (p.bottom - p.top) * (p.right - p.left)):
            raise DamagedResult("a part of the preview is out of place")
        if self._pixels.shape != (p.height, p.width) or self._plane != (p.t, p.z):
            self._plane = (p.t, p.z)
            self._pixels = np.zeros((p.height, p.width), np.uint8)
        part = (slice(p.top, p.bottom), slice(p.left, p.right))
        self._pixels[part] = np.frombuffer(p.pixels, np.uint8).reshape(p.bottom - p.top, p.right - p.left)
        return Preview(self._pixels.copy(), part, (p.pixel_height, p.pixel_width), p.t, p.z)


_COLUMNS = {"id": np.uint32, "area_px": np.uint64, "centroid_y_px": np.float64, "centroid_x_px": np.float64, "top": np.uint32,
            "left": np.uint32, "bottom": np.uint32, "right": np.uint32, "mean_intensity": np.float64, "area_um2": np.float64,
            "centroid_y_um": np.float64, "centroid_x_um": np.float64, "t": np.uint32, "z": np.uint32, "z_end": np.uint32,
            "centroid_z": np.float64}
_OPTIONAL = ("area_um2", "centroid_y_um", "centroid_x_um", "t", "z", "z_end", "centroid_z")


class ObjectTable(Mapping[str, np.ndarray]):
    """One row per object, as columns: table["area_px"]. The box (top, left, bottom, right) is half open; the *_um columns are there only
    when the pixel size is known, the planes (t, z up to z_end, centroid_z) only for stacks. Positions are those in the image, of a region too.
    `pandas.DataFrame(table)` works."""

    def __init__(self, batches: list[common.ObjectTable]):
        self._columns = {}
        for name, dtype in _COLUMNS.items():
            parts = [np.asarray(getattr(b, name), dtype) for b in batches]
            column = np.concatenate(parts) if parts else np.zeros(0, dtype)
            if name not in _OPTIONAL or len(column):
                self._columns[name] = column

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self):
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self._columns["id"])

    def __repr__(self) -> str:
        return f"<ObjectTable: {self.count} objects, {', '.join(self)}>"


@dataclass(frozen=True)
class KeptMaps:
    """The network's maps of an image, kept on the server with the image: `Client.relabel` makes labels of them with other thresholds."""

    id: str
    expires: datetime | None
    bytes: int


@dataclass(frozen=True)
class Result:
    """A segmentation. `labels`: uint32 (y, x), 0 is background, objects are 1, 2, ...; None if not asked for; of a stack with its axes t and z
    before (`axes`: "zyx", say). `maps`: float32 (c, y, x), what the network said; None unless asked for. `region`: the part of the image that
    they are of; None: all of it. `planes`: "independent 2D" or "linked 2D" of a stack, else None. `kept`: the maps that the server keeps; None unless asked to. provenance["kept_maps"]: whether the
    labels were made of kept maps, without the network."""

    labels: np.ndarray | None
    objects: ObjectTable | None
    maps: np.ndarray | None
    object_count: int
    pixel_size_um: float | None
    warnings: tuple[ServerWarning, ...]
    provenance: dict[str, Any]
    request_id: str | None = None
    kept: KeptMaps | None = None
    axes: str = "yx"
    planes: str | None = None
    region: Region | None = None
    plane_distance_um: float | None = None

    def __repr__(self) -> str:
        size = "" if self.labels is None else " x ".join(map(str, self.labels.shape)) + ", "
        return f"<Result: {size}{self.object_count} objects, {self.provenance['model']}>"


def _provenance(p: common.Provenance) -> dict[str, Any]:
    return {
        "model": f"{p.model_name}@{p.model_version}", "model_name": p.model_name, "model_version": p.model_version,
        "model_sha256": p.model_sha256, "input_sha256": p.input_sha256, "parameters": dict(p.parameters),
        "software_version": p.software_version, "plan_hash": p.plan_hash, "algorithms": p.algorithms, "device": p.device,
        "tiled": p.tiled, "tile_px": p.tile_px, "halo_px": p.halo_px, "network_seconds": p.network_seconds,
        "postprocessing_seconds": p.postprocessing_seconds, "kept_maps": p.kept_maps,
    }


def _result(found: common.SegmentResult, labels: np.ndarray | None, objects: ObjectTable | None, maps: np.ndarray | None,
            request_id: str | None) -> Result:
    return Result(labels, objects, maps, found.object_count, found.pixel_size_um or None,
                  tuple(ServerWarning(w.code, w.text) for w in found.warnings), _provenance(found.provenance), request_id,
                  KeptMaps(found.kept_maps.id, _time(found.kept_maps.expires_ms), found.kept_maps.bytes) if found.kept_maps.id else None,
                  "".join(a.name for a in found.plane_axes) + "yx", found.planes or None, _region(found),
                  next((a.pixel_size for a in found.plane_axes if a.pixel_size), None))


def _region(found: common.SegmentResult) -> Region | None:
    r = found.region
    return Region(r.y, r.x, r.height, r.width, r.z, r.depth, r.t, r.duration) if found.HasField("region") else None


def from_unary(answer: Any, outputs: frozenset[int], request_id: str | None) -> Result:
    """A SegmentResponse."""
    size = (answer.result.height, answer.result.width)
    planes = tuple(a.size for a in answer.result.plane_axes)
    labels = maps = None
    if common.OUTPUT_LABELS in outputs:
        labels = np.frombuffer(answer.labels, "<u4").reshape(*planes, *size).astype(np.uint32)
    if common.OUTPUT_MAPS in outputs:
        maps = np.frombuffer(answer.maps, "<f4").reshape(*planes, answer.map_channels, *size).astype(np.float32)
    table = ObjectTable([answer.objects]) if common.OUTPUT_OBJECT_TABLE in outputs else None
    return _result(answer.result, labels, table, maps, request_id)


class StreamedResult:
    """Takes the events of SegmentStream or Jobs.GetResult one by one and becomes a Result."""

    def __init__(self, outputs: frozenset[int] | None):
        self.outputs = outputs
        self.request_id: str | None = None
        self.begun = False
        self._start: common.ResultStart | None = None
        self._buffers: list[bytearray] = []
        self._filled: list[int] = []
        self._batches: list[common.ObjectTable] = []
        self._ended = False

    def take(self, event: Any) -> Progress | None:
        """What the event says about progress, if it does."""
        self.begun = True
        kind = event.WhichOneof("event")
        if kind == "accepted":
            self.request_id = event.accepted.request_id
            return Progress("tiles", 0, 0)
        if kind == "progress":
            return Progress("tiles", event.progress.tiles_done, event.progress.tiles_total)
        if kind == "start":
            self._start = event.start
            self._buffers = [bytearray(a.total_bytes) for a in event.start.artifacts]
            self._filled = [0] * len(self._buffers)
            return Progress("download", 0, sum(map(len, self._buffers)))
        if kind == "objects":
            self._batches.append(event.objects)
            return None
        if kind == "chunk":
            return self._chunk(event.chunk)
        if kind == "end":
            if event.end.total_bytes != sum(self._filled) or self._filled != list(map(len, self._buffers)):
                raise DamagedResult(f"{event.end.total_bytes} bytes were announced, {sum(self._filled)} arrived", self.request_id)
            self._ended = True
        return None

    def _chunk(self, chunk: common.Chunk) -> Progress:
        at = chunk.artifact
        if at >= len(self._buffers) or chunk.offset != self._filled[at] or chunk.offset + len(chunk.data) > len(self._buffers[at]):
            raise DamagedResult(f"a piece of the result is out of place (part {at}, byte {chunk.offset})", self.request_id)
        if crc32c(chunk.data) != chunk.crc32c:
            raise DamagedResult(f"a piece of the result is damaged (part {at}, byte {chunk.offset})", self.request_id)
        self._buffers[at][chunk.offset:chunk.offset + len(chunk.data)] = chunk.data
        self._filled[at] += len(chunk.data)
        return Progress("download", sum(self._filled), sum(map(len, self._buffers)))

    def result(self) -> Result:
        if not self._ended or self._start is None:
            raise DamagedResult("the result ended before it was complete", self.request_id)
        arrays: dict[int, np.ndarray] = {}
        for artifact, data in zip(self._start.artifacts, self._buffers):
            dtype = "<u4" if artifact.output == common.OUTPUT_LABELS else "<f4"
            shape = [a.size for a in artifact.image.axes]
            arrays[artifact.output] = np.frombuffer(data, dtype).reshape(shape)
        wanted = self.outputs is None or common.OUTPUT_OBJECT_TABLE in self.outputs
        table = ObjectTable(self._batches) if wanted else None
        return _result(self._start.result, arrays.get(common.OUTPUT_LABELS), table, arrays.get(common.OUTPUT_MAPS), self.request_id)


@dataclass(frozen=True)
class Parameter:
    """What a model lets one set: a form is made from these. kind: "float", "int", "bool" or "choice"."""

    name: str
    title: str
    help: str
    kind: str
    minimum: float
    maximum: float
    step: float
    default: Any
    unit: str
    choices: tuple[str, ...]
    advanced: bool
    network: bool = True  # another value needs the network to run again; False: kept maps will do

    @classmethod
    def from_message(cls, p: common.ParameterSpec) -> Parameter:
        kinds = {common.PARAMETER_TYPE_FLOAT: "float", common.PARAMETER_TYPE_INT: "int", common.PARAMETER_TYPE_BOOL: "bool",
                 common.PARAMETER_TYPE_ENUM: "choice"}
        kind = kinds.get(p.type, "float")
        default: Any = p.default_value
        if kind == "int":
            default = int(default)
        elif kind == "bool":
            default = bool(default)
        elif kind == "choice":
            default = p.choices[int(default)] if int(default) < len(p.choices) else ""
        return cls(p.name, p.title or p.name, p.help, kind, p.minimum, p.maximum, p.step, default, p.unit, tuple(p.choices), p.advanced, p.network)

    def value(self, given: Any) -> common.ParameterValue:
        if self.kind == "bool":
            return common.ParameterValue(flag=bool(given))
        if self.kind == "choice":
            return common.ParameterValue(choice=str(given))
        return common.ParameterValue(number=float(given))


def _time(ms: int) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, timezone.utc) if ms else None


@dataclass(frozen=True)
class Model:
    """A version of a model. `parameters` are filled in by Client.model, not in lists."""

    name: str
    version: int
    description: str
    licence: str
    source: str
    architecture: str
    input_channels: int
    output_channels: int
    recipe: str
    trained: bool
    loaded: bool
    training_patch_px: int | None
    pixel_size_um: float | None
    weight_count: int
    sha256: str
    owner: str
    labels: dict[str, str]
    created: datetime | None
    parameters: tuple[Parameter, ...] = field(repr=False)
    aliases: tuple[str, ...] = ()

    @property
    def promoted(self) -> bool:
        """Whether the name alone means this version."""
        return "production" in self.aliases

    @property
    def reference(self) -> str:
        """NAME@VERSION"""
        return f"{self.name}@{self.version}"

    @classmethod
    def from_message(cls, m: models.Model) -> Model:
        return cls(m.name, m.version, m.description, m.licence, m.source, m.architecture, m.input_channels, m.output_channels, m.recipe,
                   m.trained, m.loaded, m.training_patch_px or None, m.pixel_size_um or None, m.weight_count, m.sha256, m.owner,
                   dict(m.labels), _time(m.created_ms), tuple(map(Parameter.from_message, m.parameters)), tuple(m.aliases))


def _reference(ref: common.ModelRef) -> str:
    return f"{ref.name}@{ref.version}" if ref.WhichOneof("selector") == "version" else f"{ref.name}@{ref.alias}" if ref.alias else ref.name


@dataclass(frozen=True)
class AliasMove:
    """A movable name of a model was given to another version. kind: "set", "roll back" or "delete"; before, after: versions, None: none."""

    alias: str
    kind: str
    before: int | None
    after: int | None
    who: str
    when: datetime | None
    reason: str

    @classmethod
    def from_message(cls, m: models.AliasMove) -> AliasMove:
        return cls(m.alias, m.kind, m.from_version or None, m.to_version or None, m.who, _time(m.moved_ms), m.reason)


@dataclass(frozen=True)
class LineageStep:
    """One step of a model's history. how: "import", "train" or "finetune"; parent, dataset, job_id: None where there is none."""

    model: str
    how: str
    parent: str | None
    dataset: str | None
    job_id: str | None
    created: datetime | None

    @classmethod
    def from_message(cls, s: models.LineageStep) -> LineageStep:
        return cls(_reference(s.model), s.how, _reference(s.parent) if s.HasField("parent") else None, s.dataset or None, s.job_id or None,
                   _time(s.created_ms))


@dataclass(frozen=True)
class Training:
    """What a training job has beside the rest. initial: the model it began with; None: random weights. config: everything that was set, defaults
    included. latest_step: of the checkpoint that it would go on from; best_step, best_validation_loss: of the best weights so far; None: none yet."""

    dataset: str
    dataset_sha256: str
    model_name: str
    initial: str | None
    config: dict[str, Any] = field(repr=False)
    latest_step: int | None
    best_step: int | None
    best_validation_loss: float | None

    @classmethod
    def from_message(cls, t: jobs.TrainingState) -> Training:
        best = t.best_step if t.HasField("best_step") else None
        return cls(t.dataset, t.dataset_sha256, t.model_name, _reference(t.initial) if t.HasField("initial") else None,
                   json.loads(t.config_json) if t.config_json else {}, t.latest_step if t.HasField("latest_step") else None, best,
                   None if best is None else t.best_validation_loss)


_JOB_STATES = {jobs.JOB_STATE_QUEUED: "queued", jobs.JOB_STATE_RUNNING: "running", jobs.JOB_STATE_SUCCEEDED: "succeeded",
               jobs.JOB_STATE_FAILED: "failed", jobs.JOB_STATE_CANCELLED: "cancelled", jobs.JOB_STATE_PAUSED: "paused"}


@dataclass(frozen=True)
class Job:
    """A job as it was when asked for. kind: "segment" or "train". state: "queued", "running", "succeeded", "failed", "cancelled" or "paused"
    (training only, `error` says why). model: "" until a training job has made one. training: None of other jobs."""

    id: str
    state: str
    kind: str
    model: str
    progress: Progress
    error: str | None
    object_count: int
    attempts: int
    labels: dict[str, str]
    created: datetime | None
    started: datetime | None
    finished: datetime | None
    expires: datetime | None
    revision: int
    training: Training | None = None

    @property
    def done(self) -> bool:
        return self.state in ("succeeded", "failed", "cancelled")

    @classmethod
    def from_message(cls, j: jobs.Job) -> Job:
        return cls(j.id, _JOB_STATES.get(j.state, "unknown"), j.kind, f"{j.model.name}@{j.model.version}" if j.HasField("model") else "",
                   Progress("steps" if j.kind == "train" else "tiles", j.progress.tiles_done, j.progress.tiles_total), j.error.message if j.HasField("error") else None,
                   j.object_count, j.attempts, dict(j.labels), _time(j.created_ms), _time(j.started_ms), _time(j.finished_ms),
                   _time(j.expires_ms), j.revision, Training.from_message(j.training) if j.HasField("training") else None)


@dataclass(frozen=True)
class Plan:
    """What a job would need: memory of the device, and seconds (None: not known)."""

    peak_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class ServerInfo:
    """The server: version, what it can do, where it computes, as whom it knows us."""

    version: str
    api_level: int
    features: tuple[str, ...]
    devices: tuple[str, ...]
    caller: str
    max_unary_image_bytes: int
    max_image_bytes: int

    @classmethod
    def from_message(cls, info: Any) -> ServerInfo:
        return cls(info.version, info.api_level, tuple(info.features), tuple(d.name for d in info.devices), info.caller,
                   info.limits.max_unary_image_bytes, info.limits.max_image_bytes)
