from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Device(_message.Message):
    __slots__ = ["backend", "fast_bf16", "instruction_set", "libraries", "model_budget_bytes", "name", "ready", "resident_bytes", "resident_models", "running", "threads", "waiting", "worker_restarts"]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    FAST_BF16_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_SET_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FIELD_NUMBER: _ClassVar[int]
    MODEL_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_MODELS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WORKER_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    backend: str
    fast_bf16: bool
    instruction_set: str
    libraries: str
    model_budget_bytes: int
    name: str
    ready: bool
    resident_bytes: int
    resident_models: int
    running: int
    threads: int
    waiting: int
    worker_restarts: int
    def __init__(self, name: _Optional[str] = ..., backend: _Optional[str] = ..., libraries: _Optional[str] = ..., instruction_set: _Optional[str] = ..., threads: _Optional[int] = ..., fast_bf16: bool = ..., ready: bool = ..., waiting: _Optional[int] = ..., running: _Optional[int] = ..., worker_restarts: _Optional[int] = ..., model_budget_bytes: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., resident_models: _Optional[int] = ...) -> None: ...

class GetInfoRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ["api_level", "caller", "devices", "features", "limits", "started_ms", "version"]
    API_LEVEL_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    api_level: int
    caller: str
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    features: _containers.RepeatedScalarFieldContainer[str]
    limits: Limits
    started_ms: int
    version: str
    def __init__(self, version: _Optional[str] = ..., api_level: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., caller: _Optional[str] = ..., started_ms: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ["kept_ms", "max_chunk_bytes", "max_concurrent_streams", "max_image_bytes", "max_kept_bytes", "max_message_bytes", "max_model_bytes", "max_page_size", "max_unary_image_bytes"]
    KEPT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_STREAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_KEPT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_UNARY_IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    kept_ms: int
    max_chunk_bytes: int
    max_concurrent_streams: int
    max_image_bytes: int
    max_kept_bytes: int
    max_message_bytes: int
    max_model_bytes: int
    max_page_size: int
    max_unary_image_bytes: int
    def __init__(self, max_chunk_bytes: _Optional[int] = ..., max_unary_image_bytes: _Optional[int] = ..., max_image_bytes: _Optional[int] = ..., max_model_bytes: _Optional[int] = ..., max_page_size: _Optional[int] = ..., max_concurrent_streams: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_kept_bytes: _Optional[int] = ..., kept_ms: _Optional[int] = ...) -> None: ...
