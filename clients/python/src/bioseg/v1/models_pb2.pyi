from bioseg.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
MODEL_STATE_READY: ModelState
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_UNTRAINED: ModelState

class AliasMove(_message.Message):
    __slots__ = ["alias", "from_version", "kind", "moved_ms", "number", "reason", "to_version", "who"]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MOVED_MS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    alias: str
    from_version: int
    kind: str
    moved_ms: int
    number: int
    reason: str
    to_version: int
    who: str
    def __init__(self, number: _Optional[int] = ..., alias: _Optional[str] = ..., kind: _Optional[str] = ..., from_version: _Optional[int] = ..., to_version: _Optional[int] = ..., who: _Optional[str] = ..., moved_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class DeleteAliasRequest(_message.Message):
    __slots__ = ["alias", "name", "reason"]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    alias: str
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DeleteAliasResponse(_message.Message):
    __slots__ = ["move"]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    move: AliasMove
    def __init__(self, move: _Optional[_Union[AliasMove, _Mapping]] = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class DeleteModelResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ExportModelRequest(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class ExportModelResponse(_message.Message):
    __slots__ = ["chunk", "end", "start"]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    chunk: _common_pb2.Chunk
    end: _common_pb2.ChunkEnd
    start: ExportModelStart
    def __init__(self, start: _Optional[_Union[ExportModelStart, _Mapping]] = ..., chunk: _Optional[_Union[_common_pb2.Chunk, _Mapping]] = ..., end: _Optional[_Union[_common_pb2.ChunkEnd, _Mapping]] = ...) -> None: ...

class ExportModelStart(_message.Message):
    __slots__ = ["model", "total_bytes"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    model: Model
    total_bytes: int
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class GetLineageRequest(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class GetLineageResponse(_message.Message):
    __slots__ = ["steps"]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[LineageStep]
    def __init__(self, steps: _Optional[_Iterable[_Union[LineageStep, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ["model", "with_card", "with_plans"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WITH_CARD_FIELD_NUMBER: _ClassVar[int]
    WITH_PLANS_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    with_card: bool
    with_plans: bool
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., with_card: bool = ..., with_plans: bool = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class ImportModelRequest(_message.Message):
    __slots__ = ["chunk", "end", "start"]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    chunk: _common_pb2.Chunk
    end: _common_pb2.ChunkEnd
    start: ImportModelStart
    def __init__(self, start: _Optional[_Union[ImportModelStart, _Mapping]] = ..., chunk: _Optional[_Union[_common_pb2.Chunk, _Mapping]] = ..., end: _Optional[_Union[_common_pb2.ChunkEnd, _Mapping]] = ...) -> None: ...

class ImportModelResponse(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class ImportModelStart(_message.Message):
    __slots__ = ["labels", "name", "project", "time_to_live_ms", "total_bytes"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_LIVE_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    name: str
    project: str
    time_to_live_ms: int
    total_bytes: int
    def __init__(self, name: _Optional[str] = ..., total_bytes: _Optional[int] = ..., project: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., time_to_live_ms: _Optional[int] = ...) -> None: ...

class LineageStep(_message.Message):
    __slots__ = ["created_ms", "dataset", "how", "job_id", "model", "parent"]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    created_ms: int
    dataset: str
    how: str
    job_id: str
    model: _common_pb2.ModelRef
    parent: _common_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., how: _Optional[str] = ..., parent: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., dataset: _Optional[str] = ..., job_id: _Optional[str] = ..., created_ms: _Optional[int] = ...) -> None: ...

class ListAliasMovesRequest(_message.Message):
    __slots__ = ["alias", "name", "page"]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    alias: str
    name: str
    page: _common_pb2.Page
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListAliasMovesResponse(_message.Message):
    __slots__ = ["moves", "next_page_token"]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    moves: _containers.RepeatedCompositeFieldContainer[AliasMove]
    next_page_token: str
    def __init__(self, moves: _Optional[_Iterable[_Union[AliasMove, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ["include_untrained", "labels", "page", "project"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INCLUDE_UNTRAINED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    include_untrained: bool
    labels: _containers.ScalarMap[str, str]
    page: _common_pb2.Page
    project: str
    def __init__(self, page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ..., project: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., include_untrained: bool = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ["models", "next_page_token"]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ["aliases", "architecture", "assumed", "card", "created_ms", "description", "expires_ms", "file_bytes", "input_channels", "labels", "licence", "loaded", "name", "normalisation", "output_channels", "owner", "parameters", "pixel_size_um", "project", "recipe", "resident_bytes", "sha256", "source", "state", "trained", "training_patch_px", "version", "weight_count"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    ASSUMED_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INPUT_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NORMALISATION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SIZE_UM_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    TRAINING_PATCH_PX_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedScalarFieldContainer[str]
    architecture: str
    assumed: str
    card: ModelCard
    created_ms: int
    description: str
    expires_ms: int
    file_bytes: int
    input_channels: int
    labels: _containers.ScalarMap[str, str]
    licence: str
    loaded: bool
    name: str
    normalisation: str
    output_channels: int
    owner: str
    parameters: _containers.RepeatedCompositeFieldContainer[_common_pb2.ParameterSpec]
    pixel_size_um: float
    project: str
    recipe: str
    resident_bytes: int
    sha256: str
    source: str
    state: ModelState
    trained: bool
    training_patch_px: int
    version: int
    weight_count: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., aliases: _Optional[_Iterable[str]] = ..., owner: _Optional[str] = ..., project: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., created_ms: _Optional[int] = ..., expires_ms: _Optional[int] = ..., file_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., description: _Optional[str] = ..., licence: _Optional[str] = ..., source: _Optional[str] = ..., architecture: _Optional[str] = ..., input_channels: _Optional[int] = ..., output_channels: _Optional[int] = ..., recipe: _Optional[str] = ..., normalisation: _Optional[str] = ..., training_patch_px: _Optional[int] = ..., pixel_size_um: _Optional[float] = ..., trained: bool = ..., weight_count: _Optional[int] = ..., assumed: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[_common_pb2.ParameterSpec, _Mapping]]] = ..., loaded: bool = ..., state: _Optional[_Union[ModelState, str]] = ..., resident_bytes: _Optional[int] = ..., card: _Optional[_Union[ModelCard, _Mapping]] = ...) -> None: ...

class ModelCard(_message.Message):
    __slots__ = ["flops", "network_px", "parameters", "plans", "tile_px"]
    FLOPS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_PX_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PLANS_FIELD_NUMBER: _ClassVar[int]
    TILE_PX_FIELD_NUMBER: _ClassVar[int]
    flops: float
    network_px: int
    parameters: int
    plans: _containers.RepeatedCompositeFieldContainer[TilePlan]
    tile_px: int
    def __init__(self, parameters: _Optional[int] = ..., tile_px: _Optional[int] = ..., network_px: _Optional[int] = ..., flops: _Optional[float] = ..., plans: _Optional[_Iterable[_Union[TilePlan, _Mapping]]] = ...) -> None: ...

class PromoteModelRequest(_message.Message):
    __slots__ = ["model", "reason"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    reason: str
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class PromoteModelResponse(_message.Message):
    __slots__ = ["model", "move"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    model: Model
    move: AliasMove
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., move: _Optional[_Union[AliasMove, _Mapping]] = ...) -> None: ...

class RollbackModelRequest(_message.Message):
    __slots__ = ["alias", "name", "reason"]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    alias: str
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RollbackModelResponse(_message.Message):
    __slots__ = ["model", "move"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    model: Model
    move: AliasMove
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., move: _Optional[_Union[AliasMove, _Mapping]] = ...) -> None: ...

class SetAliasRequest(_message.Message):
    __slots__ = ["alias", "model", "reason"]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    alias: str
    model: _common_pb2.ModelRef
    reason: str
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., alias: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SetAliasResponse(_message.Message):
    __slots__ = ["model", "move"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    model: Model
    move: AliasMove
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., move: _Optional[_Union[AliasMove, _Mapping]] = ...) -> None: ...

class TilePlan(_message.Message):
    __slots__ = ["algorithms", "arena_bytes", "batch", "peak_bytes", "precision", "weight_bytes", "window_bytes"]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    ARENA_BYTES_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    algorithms: str
    arena_bytes: int
    batch: int
    peak_bytes: int
    precision: str
    weight_bytes: int
    window_bytes: int
    def __init__(self, batch: _Optional[int] = ..., precision: _Optional[str] = ..., peak_bytes: _Optional[int] = ..., arena_bytes: _Optional[int] = ..., weight_bytes: _Optional[int] = ..., window_bytes: _Optional[int] = ..., algorithms: _Optional[str] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
