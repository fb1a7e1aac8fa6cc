"""From keyword arguments to messages: what the blocking and the asynchronous client share."""
from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ._images import ImageSource, message_parts
from .errors import InvalidRequest
from .results import Region
from .v1 import common_pb2 as common
from .v1 import datasets_pb2 as datasets
from .v1 import jobs_pb2 as jobs
from .v1 import models_pb2 as models
from .v1 import segmentation_pb2 as seg
from .v1 import server_pb2 as server
from .v1 import training_pb2 as training

OUTPUTS = {"labels": common.OUTPUT_LABELS, "objects": common.OUTPUT_OBJECT_TABLE, "maps": common.OUTPUT_MAPS}
STATES = {"queued": jobs.JOB_STATE_QUEUED, "running": jobs.JOB_STATE_RUNNING, "succeeded": jobs.JOB_STATE_SUCCEEDED,
          "failed": jobs.JOB_STATE_FAILED, "cancelled": jobs.JOB_STATE_CANCELLED,
          "paused": jobs.JOB_STATE_PAUSED}

# service/method -> (kind of call, request, response)
METHODS = {
    "Server/GetInfo": ("unary_unary", server.GetInfoRequest, server.GetInfoResponse),
    "Segmentation/Segment": ("unary_unary", seg.SegmentRequest, seg.SegmentResponse),
    "Segmentation/SegmentStream": ("stream_stream", seg.SegmentStreamRequest, seg.SegmentStreamResponse),
    "Jobs/Submit": ("stream_unary", jobs.SubmitJobRequest, jobs.SubmitJobResponse),
    "Jobs/Get": ("unary_unary", jobs.GetJobRequest, jobs.GetJobResponse),
    "Jobs/List": ("unary_unary", jobs.ListJobsRequest, jobs.ListJobsResponse),
    "Jobs/Watch": ("unary_stream", jobs.WatchJobRequest, jobs.WatchJobResponse),
    "Jobs/Cancel": ("unary_unary", jobs.CancelJobRequest, jobs.CancelJobResponse),
    "Jobs/Delete": ("unary_unary", jobs.DeleteJobRequest, jobs.DeleteJobResponse),
    "Jobs/GetResult": ("unary_stream", jobs.GetJobResultRequest, jobs.GetJobResultResponse),
    "Models/List": ("unary_unary", models.ListModelsRequest, models.ListModelsResponse),
    "Models/Get": ("unary_unary", models.GetModelRequest, models.GetModelResponse),
    "Models/Import": ("stream_unary", models.ImportModelRequest, models.ImportModelResponse),
    "Models/Export": ("unary_stream", models.ExportModelRequest, models.ExportModelResponse),
    "Models/Load": ("unary_unary", models.LoadModelRequest, models.LoadModelResponse),
    "Models/Unload": ("unary_unary", models.UnloadModelRequest, models.UnloadModelResponse),
    "Models/Delete": ("unary_unary", models.DeleteModelRequest, models.DeleteModelResponse),
    "Models/Promote": ("unary_unary", models.PromoteModelRequest, models.PromoteModelResponse),
    "Models/Rollback": ("unary_unary", models.RollbackModelRequest, models.RollbackModelResponse),
    "Models/ListAliasMoves": ("unary_unary", models.ListAliasMovesRequest, models.ListAliasMovesResponse),
    "Models/GetLineage": ("unary_unary", models.GetLineageRequest, models.GetLineageResponse),
    "Datasets/Create": ("unary_unary", datasets.CreateDatasetRequest, datasets.CreateDatasetResponse),
    "Datasets/Get": ("unary_unary", datasets.GetDatasetRequest, datasets.GetDatasetResponse),
    "Datasets/List": ("unary_unary", datasets.ListDatasetsRequest, datasets.ListDatasetsResponse),
    "Datasets/Delete": ("unary_unary", datasets.DeleteDatasetRequest, datasets.DeleteDatasetResponse),
    "Datasets/AddPair": ("stream_unary", datasets.AddPairRequest, datasets.AddPairResponse),
    "Datasets/Missing": ("unary_unary", datasets.MissingFilesRequest, datasets.MissingFilesResponse),
    "Datasets/ListPairs": ("unary_unary", datasets.ListPairsRequest, datasets.ListPairsResponse),
    "Datasets/DeletePair": ("unary_unary", datasets.DeletePairRequest, datasets.DeletePairResponse),
    "Datasets/UpdatePair": ("unary_unary", datasets.UpdatePairRequest, datasets.UpdatePairResponse),
    "Training/Describe": ("unary_unary", training.DescribeTrainingRequest, training.DescribeTrainingResponse),
    "Training/Start": ("unary_unary", training.StartTrainingRequest, training.StartTrainingResponse),
    "Training/WatchMetrics": ("unary_stream", training.WatchMetricsRequest, training.WatchMetricsResponse),
    "Training/GetSample": ("unary_unary", training.GetSampleRequest, training.GetSampleResponse),
    "Training/Pause": ("unary_unary", training.PauseTrainingRequest, training.PauseTrainingResponse),
    "Training/Resume": ("unary_unary", training.ResumeTrainingRequest, training.ResumeTrainingResponse),
    "Training/SetLearningRate": ("unary_unary", training.SetLearningRateRequest, training.SetLearningRateResponse),
}


def make_calls(channel: Any) -> dict[str, Any]:
    """Callables by name: no generated service code, which would tie us to one version of grpcio."""
    calls = {}
    for name, (kind, request, response) in METHODS.items():
        calls[name] = getattr(channel, kind)("/bioseg.v1." + name, request_serializer=request.SerializeToString,
                                             response_deserializer=response.FromString)
    return calls


def model_ref(model: Any) -> common.ModelRef:
    """A Model, "name", "name@3" or "name@alias"."""
    text = model if isinstance(model, str) else model.reference
    name, at, selector = text.partition("@")
    if not name or (at and not selector):
        raise InvalidRequest(f"{text!r} names no model; NAME, NAME@VERSION or NAME@ALIAS does")
    if selector.isdigit():
        return common.ModelRef(name=name, version=int(selector))
    return common.ModelRef(name=name, alias=selector) if selector else common.ModelRef(name=name)


def parameter_value(value: Any) -> common.ParameterValue:
    if isinstance(value, bool):
        return common.ParameterValue(flag=value)
    if isinstance(value, str):
        return common.ParameterValue(choice=value)
    return common.ParameterValue(number=float(value))


def output_set(outputs: Iterable[str]) -> frozenset[int]:
    names = [outputs] if isinstance(outputs, str) else list(outputs)
    unknown = [n for n in names if n not in OUTPUTS]
    if unknown or not names:
        raise InvalidRequest(f"outputs can be {', '.join(OUTPUTS)}; not {unknown or 'none'}")
    return frozenset(OUTPUTS[n] for n in names)


_STATISTICS = {"image": seg.STATISTICS_SCOPE_IMAGE, "block": seg.STATISTICS_SCOPE_BLOCK, "region": seg.STATISTICS_SCOPE_REGION,
               "stack": seg.STATISTICS_SCOPE_STACK}
_PRECISION = {"fp32": seg.PRECISION_FP32, "bf16": seg.PRECISION_BF16}
_PLANES = {"independent": seg.PLANE_MODE_INDEPENDENT, "linked": seg.PLANE_MODE_LINKED}


def _one_of(name: str, value: str, choices: Mapping[str, int]) -> int:
    if value not in choices:
        raise InvalidRequest(f"{name}={value!r}: it can be {' or '.join(choices)}")
    return choices[value]


def region_message(region: Any) -> common.Region:
    """A Region, its numbers in order, or a mapping of its names."""
    try:
        numbers = Region(**region) if isinstance(region, Mapping) else Region(*region)
        if any(n < 0 or n != int(n) for n in numbers):
            raise ValueError
    except (TypeError, ValueError):
        raise InvalidRequest(f"region={region!r}: it is (y, x, height, width), with (..., z, depth) and (..., t, duration) after it for a "
                             "stack, whole numbers from 0 on; a size of 0 is all that is left") from None
    return common.Region(**{name: int(n) for name, n in numbers._asdict().items()})


def segment_spec(model: Any, outputs: frozenset[int], *, parameters: Mapping[str, Any] | None = None, channel: int | str | None = None,
                 no_data: float | None = None, scale: float | None = None, target_pixel_size_um: float | None = None,
                 statistics: str | None = None, region: Any = None, planes: str | None = None, separate_planes: bool = False, tile: int | None = None, halo: int | None = None,
                 precision: str | None = None, min_size_um2: float | None = None) -> seg.SegmentSpec:
    spec = seg.SegmentSpec(model=model_ref(model), outputs=sorted(outputs))
    for name, value in (parameters or {}).items():
        spec.parameters[name].CopyFrom(parameter_value(value))
    if isinstance(channel, str):
        spec.channel_name = channel
    elif channel is not None:
        if channel < 0:
            raise InvalidRequest(f"channel={channel}: channels count from 0")
        spec.channel_index = channel
    if no_data is not None:
        spec.no_data = no_data
    if scale is not None and target_pixel_size_um is not None:
        raise InvalidRequest("scale and target_pixel_size_um say the same in two ways: give one")
    if scale is not None:
        spec.scale = scale
    if target_pixel_size_um is not None:
        spec.target_pixel_size_um = target_pixel_size_um
    if statistics is not None:
        spec.statistics_scope = _one_of("statistics", statistics, _STATISTICS)
    if region is not None:
        spec.region.CopyFrom(region_message(region))
    if planes is not None:
        spec.plane_mode = _one_of("planes", planes, _PLANES)
    spec.separate_planes = separate_planes
    if precision is not None:
        spec.precision = _one_of("precision", precision, _PRECISION)
    if tile is not None:
        spec.tiling.tile_px = tile
    if halo is not None:
        spec.tiling.halo_px = halo
    if min_size_um2 is not None:
        spec.min_size_um2 = min_size_um2
    return spec


def stream_messages(spec: seg.SegmentSpec, source: ImageSource, sent: Any, preview: tuple[int, float] | None = None, keep_maps: bool = False) -> Any:
    """preview: longest side and seconds between two parts, 0 for the server's choice."""
    start = seg.SegmentStart(spec=spec, image=source.description, total_bytes=source.total_bytes, keep_maps=keep_maps)
    if preview is not None:
        start.preview.max_side_px, start.preview.interval_ms = preview[0], round(1000 * preview[1])
    return message_parts(seg.SegmentStreamRequest, start, source, sent)


def kept_messages(spec: seg.SegmentSpec, kept_id: str) -> Any:
    """New labels from kept maps: nothing but a start."""
    return iter([seg.SegmentStreamRequest(start=seg.SegmentStart(spec=spec, kept_maps_id=kept_id))])


def new_key() -> str:
    return uuid.uuid4().hex


def submit_start(spec: seg.SegmentSpec, source: ImageSource, *, key: str, labels: Mapping[str, str] | None = None,
                 keep_hours: float | None = None, dry_run: bool = False) -> jobs.SubmitJobStart:
    start = jobs.SubmitJobStart(idempotency_key=key, labels=dict(labels or {}), dry_run=dry_run, image=source.description,
                                total_bytes=source.total_bytes, segment=spec)
    if keep_hours is not None:
        start.time_to_live_ms = int(keep_hours * 3600e3)
    return start


def submit_messages(start: jobs.SubmitJobStart, source: ImageSource, sent: Any) -> Any:
    if start.dry_run:
        return iter([jobs.SubmitJobRequest(start=start)])
    return message_parts(jobs.SubmitJobRequest, start, source, sent)


def list_jobs_request(state: str | None, labels: Mapping[str, str] | None, model: str | None, token: str) -> jobs.ListJobsRequest:
    request = jobs.ListJobsRequest(page=common.Page(size=1000, token=token), labels=dict(labels or {}), model=model or "")
    if state is not None:
        request.state = _one_of("state", state, STATES)
    return request


def list_models_request(labels: Mapping[str, str] | None, untrained: bool, token: str) -> models.ListModelsRequest:
    return models.ListModelsRequest(page=common.Page(size=1000, token=token), labels=dict(labels or {}), include_untrained=untrained)
