from bioseg.v1 import common_pb2 as _common_pb2
from bioseg.v1 import datasets_pb2 as _datasets_pb2
from bioseg.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComparedImage(_message.Message):
    __slots__ = ["baseline", "candidate", "expected", "image_sha256", "name", "uses"]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    baseline: Score
    candidate: Score
    expected: int
    image_sha256: str
    name: str
    uses: _containers.RepeatedCompositeFieldContainer[ImageUse]
    def __init__(self, name: _Optional[str] = ..., image_sha256: _Optional[str] = ..., expected: _Optional[int] = ..., candidate: _Optional[_Union[Score, _Mapping]] = ..., baseline: _Optional[_Union[Score, _Mapping]] = ..., uses: _Optional[_Iterable[_Union[ImageUse, _Mapping]]] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ["baseline", "baseline_sha256", "candidate", "candidate_sha256", "confidence", "dataset", "differences", "finished_ms", "forced", "images", "job_id", "resamples", "seed", "software_version", "split", "warnings"]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_SHA256_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    FINISHED_MS_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RESAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    baseline: _common_pb2.ModelRef
    baseline_sha256: str
    candidate: _common_pb2.ModelRef
    candidate_sha256: str
    confidence: float
    dataset: str
    differences: _containers.RepeatedCompositeFieldContainer[MeanDifference]
    finished_ms: int
    forced: bool
    images: _containers.RepeatedCompositeFieldContainer[ComparedImage]
    job_id: str
    resamples: int
    seed: int
    software_version: str
    split: _datasets_pb2.Split
    warnings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Warning]
    def __init__(self, job_id: _Optional[str] = ..., candidate: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., candidate_sha256: _Optional[str] = ..., baseline: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., baseline_sha256: _Optional[str] = ..., dataset: _Optional[str] = ..., split: _Optional[_Union[_datasets_pb2.Split, str]] = ..., forced: bool = ..., images: _Optional[_Iterable[_Union[ComparedImage, _Mapping]]] = ..., differences: _Optional[_Iterable[_Union[MeanDifference, _Mapping]]] = ..., seed: _Optional[int] = ..., resamples: _Optional[int] = ..., confidence: _Optional[float] = ..., warnings: _Optional[_Iterable[_Union[_common_pb2.Warning, _Mapping]]] = ..., software_version: _Optional[str] = ..., finished_ms: _Optional[int] = ...) -> None: ...

class GetComparisonRequest(_message.Message):
    __slots__ = ["job_id"]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetComparisonResponse(_message.Message):
    __slots__ = ["comparison"]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    comparison: Comparison
    def __init__(self, comparison: _Optional[_Union[Comparison, _Mapping]] = ...) -> None: ...

class ImageUse(_message.Message):
    __slots__ = ["model", "split"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    split: _datasets_pb2.Split
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., split: _Optional[_Union[_datasets_pb2.Split, str]] = ...) -> None: ...

class MeanDifference(_message.Message):
    __slots__ = ["baseline_mean", "candidate_mean", "difference", "high", "low", "metric"]
    BASELINE_MEAN_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_MEAN_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    baseline_mean: float
    candidate_mean: float
    difference: float
    high: float
    low: float
    metric: str
    def __init__(self, metric: _Optional[str] = ..., candidate_mean: _Optional[float] = ..., baseline_mean: _Optional[float] = ..., difference: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ["msa", "predicted", "sa50", "sa75"]
    MSA_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    SA50_FIELD_NUMBER: _ClassVar[int]
    SA75_FIELD_NUMBER: _ClassVar[int]
    msa: float
    predicted: int
    sa50: float
    sa75: float
    def __init__(self, msa: _Optional[float] = ..., sa50: _Optional[float] = ..., sa75: _Optional[float] = ..., predicted: _Optional[int] = ...) -> None: ...

class StartComparisonRequest(_message.Message):
    __slots__ = ["baseline", "candidate", "confidence", "dataset", "dry_run", "force", "idempotency_key", "labels", "project", "resamples", "seed", "split"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RESAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    baseline: _common_pb2.ModelRef
    candidate: _common_pb2.ModelRef
    confidence: float
    dataset: str
    dry_run: bool
    force: bool
    idempotency_key: str
    labels: _containers.ScalarMap[str, str]
    project: str
    resamples: int
    seed: int
    split: _datasets_pb2.Split
    def __init__(self, idempotency_key: _Optional[str] = ..., project: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., dry_run: bool = ..., candidate: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., baseline: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., dataset: _Optional[str] = ..., split: _Optional[_Union[_datasets_pb2.Split, str]] = ..., force: bool = ..., seed: _Optional[int] = ..., resamples: _Optional[int] = ..., confidence: _Optional[float] = ...) -> None: ...

class StartComparisonResponse(_message.Message):
    __slots__ = ["existing", "image_count", "job", "seen", "seen_count", "unknown"]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    IMAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SEEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    existing: bool
    image_count: int
    job: _jobs_pb2.Job
    seen: _containers.RepeatedCompositeFieldContainer[ComparedImage]
    seen_count: int
    unknown: _containers.RepeatedCompositeFieldContainer[_common_pb2.ModelRef]
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ..., existing: bool = ..., seen: _Optional[_Iterable[_Union[ComparedImage, _Mapping]]] = ..., seen_count: _Optional[int] = ..., image_count: _Optional[int] = ..., unknown: _Optional[_Iterable[_Union[_common_pb2.ModelRef, _Mapping]]] = ...) -> None: ...
