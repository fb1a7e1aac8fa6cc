from bioseg.v1 import common_pb2 as _common_pb2
from bioseg.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DatasetFinding(_message.Message):
    __slots__ = ["kind", "pair", "text", "warning"]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAIR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    kind: str
    pair: str
    text: str
    warning: bool
    def __init__(self, kind: _Optional[str] = ..., warning: bool = ..., pair: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class DescribeTrainingRequest(_message.Message):
    __slots__ = ["architecture", "recipe"]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    recipe: str
    def __init__(self, architecture: _Optional[str] = ..., recipe: _Optional[str] = ...) -> None: ...

class DescribeTrainingResponse(_message.Message):
    __slots__ = ["parameters"]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    parameters: _containers.RepeatedCompositeFieldContainer[_common_pb2.ParameterSpec]
    def __init__(self, parameters: _Optional[_Iterable[_Union[_common_pb2.ParameterSpec, _Mapping]]] = ...) -> None: ...

class GetSampleRequest(_message.Message):
    __slots__ = ["job_id"]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetSampleResponse(_message.Message):
    __slots__ = ["channels", "height", "planes", "reduction", "step", "target_channels", "width"]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PLANES_FIELD_NUMBER: _ClassVar[int]
    REDUCTION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TARGET_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    channels: int
    height: int
    planes: bytes
    reduction: int
    step: int
    target_channels: int
    width: int
    def __init__(self, step: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ..., target_channels: _Optional[int] = ..., reduction: _Optional[int] = ..., planes: _Optional[bytes] = ...) -> None: ...

class PauseTrainingRequest(_message.Message):
    __slots__ = ["job_id"]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class PauseTrainingResponse(_message.Message):
    __slots__ = ["job"]
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class ResumeTrainingRequest(_message.Message):
    __slots__ = ["job_id"]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ResumeTrainingResponse(_message.Message):
    __slots__ = ["job"]
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class SetLearningRateRequest(_message.Message):
    __slots__ = ["job_id", "learning_rate"]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    learning_rate: float
    def __init__(self, job_id: _Optional[str] = ..., learning_rate: _Optional[float] = ...) -> None: ...

class SetLearningRateResponse(_message.Message):
    __slots__ = ["job"]
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class StartTrainingRequest(_message.Message):
    __slots__ = ["dry_run", "idempotency_key", "labels", "project", "spec"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    idempotency_key: str
    labels: _containers.ScalarMap[str, str]
    project: str
    spec: TrainingSpec
    def __init__(self, idempotency_key: _Optional[str] = ..., project: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., dry_run: bool = ..., spec: _Optional[_Union[TrainingSpec, _Mapping]] = ...) -> None: ...

class StartTrainingResponse(_message.Message):
    __slots__ = ["existing", "job", "plan", "warnings"]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    existing: bool
    job: _jobs_pb2.Job
    plan: TrainingPlan
    warnings: _containers.RepeatedCompositeFieldContainer[DatasetFinding]
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ..., existing: bool = ..., plan: _Optional[_Union[TrainingPlan, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[DatasetFinding, _Mapping]]] = ...) -> None: ...

class TrainingPlan(_message.Message):
    __slots__ = ["config_json", "dataset_sha256", "findings", "left_out", "parameters", "planned_bytes", "problem_count", "steps", "steps_per_epoch", "train_count", "validation_count", "warning_count"]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    DATASET_SHA256_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PLANNED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    TRAIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    WARNING_COUNT_FIELD_NUMBER: _ClassVar[int]
    config_json: str
    dataset_sha256: str
    findings: _containers.RepeatedCompositeFieldContainer[DatasetFinding]
    left_out: _containers.RepeatedScalarFieldContainer[str]
    parameters: int
    planned_bytes: int
    problem_count: int
    steps: int
    steps_per_epoch: int
    train_count: int
    validation_count: int
    warning_count: int
    def __init__(self, planned_bytes: _Optional[int] = ..., parameters: _Optional[int] = ..., steps: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., train_count: _Optional[int] = ..., validation_count: _Optional[int] = ..., left_out: _Optional[_Iterable[str]] = ..., dataset_sha256: _Optional[str] = ..., config_json: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[DatasetFinding, _Mapping]]] = ..., problem_count: _Optional[int] = ..., warning_count: _Optional[int] = ...) -> None: ...

class TrainingSpec(_message.Message):
    __slots__ = ["architecture", "dataset", "initial", "model_name", "parameters", "recipe", "seed"]
    class ParametersEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.ParameterValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.ParameterValue, _Mapping]] = ...) -> None: ...
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    dataset: str
    initial: _common_pb2.ModelRef
    model_name: str
    parameters: _containers.MessageMap[str, _common_pb2.ParameterValue]
    recipe: str
    seed: int
    def __init__(self, architecture: _Optional[str] = ..., initial: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., dataset: _Optional[str] = ..., recipe: _Optional[str] = ..., parameters: _Optional[_Mapping[str, _common_pb2.ParameterValue]] = ..., model_name: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class WatchMetricsRequest(_message.Message):
    __slots__ = ["after_step", "job_id"]
    AFTER_STEP_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    after_step: int
    job_id: str
    def __init__(self, job_id: _Optional[str] = ..., after_step: _Optional[int] = ...) -> None: ...

class WatchMetricsResponse(_message.Message):
    __slots__ = ["epoch", "has_sample", "step", "values"]
    class ValuesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HAS_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    has_sample: bool
    step: int
    values: _containers.ScalarMap[str, float]
    def __init__(self, step: _Optional[int] = ..., epoch: _Optional[int] = ..., values: _Optional[_Mapping[str, float]] = ..., has_sample: bool = ...) -> None: ...
