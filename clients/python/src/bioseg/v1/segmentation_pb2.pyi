from bioseg.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
PLANE_MODE_INDEPENDENT: PlaneMode
PLANE_MODE_LINKED: PlaneMode
PLANE_MODE_UNSPECIFIED: PlaneMode
PRECISION_BF16: Precision
PRECISION_FP32: Precision
PRECISION_UNSPECIFIED: Precision
STATISTICS_SCOPE_BLOCK: StatisticsScope
STATISTICS_SCOPE_IMAGE: StatisticsScope
STATISTICS_SCOPE_REGION: StatisticsScope
STATISTICS_SCOPE_STACK: StatisticsScope
STATISTICS_SCOPE_UNSPECIFIED: StatisticsScope

class PreviewPart(_message.Message):
    __slots__ = ["bottom", "height", "left", "pixel_height", "pixel_width", "pixels", "right", "t", "top", "width", "z"]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    PIXEL_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_WIDTH_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    T_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    bottom: int
    height: int
    left: int
    pixel_height: float
    pixel_width: float
    pixels: bytes
    right: int
    t: int
    top: int
    width: int
    z: int
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., pixel_height: _Optional[float] = ..., pixel_width: _Optional[float] = ..., top: _Optional[int] = ..., left: _Optional[int] = ..., bottom: _Optional[int] = ..., right: _Optional[int] = ..., pixels: _Optional[bytes] = ..., t: _Optional[int] = ..., z: _Optional[int] = ...) -> None: ...

class PreviewRequest(_message.Message):
    __slots__ = ["interval_ms", "max_side_px"]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_SIDE_PX_FIELD_NUMBER: _ClassVar[int]
    interval_ms: int
    max_side_px: int
    def __init__(self, max_side_px: _Optional[int] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class SegmentAccepted(_message.Message):
    __slots__ = ["model", "request_id"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    request_id: str
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class SegmentRequest(_message.Message):
    __slots__ = ["image", "keep_maps", "kept_maps_id", "pixels", "spec"]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    KEEP_MAPS_FIELD_NUMBER: _ClassVar[int]
    KEPT_MAPS_ID_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    image: _common_pb2.ImageDescription
    keep_maps: bool
    kept_maps_id: str
    pixels: bytes
    spec: SegmentSpec
    def __init__(self, spec: _Optional[_Union[SegmentSpec, _Mapping]] = ..., image: _Optional[_Union[_common_pb2.ImageDescription, _Mapping]] = ..., pixels: _Optional[bytes] = ..., keep_maps: bool = ..., kept_maps_id: _Optional[str] = ...) -> None: ...

class SegmentResponse(_message.Message):
    __slots__ = ["labels", "map_channels", "maps", "objects", "result"]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    MAP_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    labels: bytes
    map_channels: int
    maps: bytes
    objects: _common_pb2.ObjectTable
    result: _common_pb2.SegmentResult
    def __init__(self, result: _Optional[_Union[_common_pb2.SegmentResult, _Mapping]] = ..., labels: _Optional[bytes] = ..., maps: _Optional[bytes] = ..., map_channels: _Optional[int] = ..., objects: _Optional[_Union[_common_pb2.ObjectTable, _Mapping]] = ...) -> None: ...

class SegmentSpec(_message.Message):
    __slots__ = ["channel_index", "channel_name", "min_size_um2", "model", "no_data", "outputs", "parameters", "plane_mode", "precision", "region", "scale", "separate_planes", "statistics_scope", "target_pixel_size_um", "tiling"]
    class ParametersEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.ParameterValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.ParameterValue, _Mapping]] = ...) -> None: ...
    CHANNEL_INDEX_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_SIZE_UM2_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NO_DATA_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PLANE_MODE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    SEPARATE_PLANES_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_SCOPE_FIELD_NUMBER: _ClassVar[int]
    TARGET_PIXEL_SIZE_UM_FIELD_NUMBER: _ClassVar[int]
    TILING_FIELD_NUMBER: _ClassVar[int]
    channel_index: int
    channel_name: str
    min_size_um2: float
    model: _common_pb2.ModelRef
    no_data: float
    outputs: _containers.RepeatedScalarFieldContainer[_common_pb2.Output]
    parameters: _containers.MessageMap[str, _common_pb2.ParameterValue]
    plane_mode: PlaneMode
    precision: Precision
    region: _common_pb2.Region
    scale: float
    separate_planes: bool
    statistics_scope: StatisticsScope
    target_pixel_size_um: float
    tiling: Tiling
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., parameters: _Optional[_Mapping[str, _common_pb2.ParameterValue]] = ..., channel_index: _Optional[int] = ..., channel_name: _Optional[str] = ..., region: _Optional[_Union[_common_pb2.Region, _Mapping]] = ..., no_data: _Optional[float] = ..., scale: _Optional[float] = ..., target_pixel_size_um: _Optional[float] = ..., plane_mode: _Optional[_Union[PlaneMode, str]] = ..., statistics_scope: _Optional[_Union[StatisticsScope, str]] = ..., tiling: _Optional[_Union[Tiling, _Mapping]] = ..., precision: _Optional[_Union[Precision, str]] = ..., outputs: _Optional[_Iterable[_Union[_common_pb2.Output, str]]] = ..., min_size_um2: _Optional[float] = ..., separate_planes: bool = ...) -> None: ...

class SegmentStart(_message.Message):
    __slots__ = ["image", "keep_maps", "kept_maps_id", "preview", "spec", "total_bytes"]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    KEEP_MAPS_FIELD_NUMBER: _ClassVar[int]
    KEPT_MAPS_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    image: _common_pb2.ImageDescription
    keep_maps: bool
    kept_maps_id: str
    preview: PreviewRequest
    spec: SegmentSpec
    total_bytes: int
    def __init__(self, spec: _Optional[_Union[SegmentSpec, _Mapping]] = ..., image: _Optional[_Union[_common_pb2.ImageDescription, _Mapping]] = ..., total_bytes: _Optional[int] = ..., preview: _Optional[_Union[PreviewRequest, _Mapping]] = ..., keep_maps: bool = ..., kept_maps_id: _Optional[str] = ...) -> None: ...

class SegmentStreamRequest(_message.Message):
    __slots__ = ["chunk", "end", "start"]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    chunk: _common_pb2.Chunk
    end: _common_pb2.ChunkEnd
    start: SegmentStart
    def __init__(self, start: _Optional[_Union[SegmentStart, _Mapping]] = ..., chunk: _Optional[_Union[_common_pb2.Chunk, _Mapping]] = ..., end: _Optional[_Union[_common_pb2.ChunkEnd, _Mapping]] = ...) -> None: ...

class SegmentStreamResponse(_message.Message):
    __slots__ = ["accepted", "chunk", "end", "objects", "preview", "progress", "start"]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    accepted: SegmentAccepted
    chunk: _common_pb2.Chunk
    end: _common_pb2.ChunkEnd
    objects: _common_pb2.ObjectTable
    preview: PreviewPart
    progress: _common_pb2.Progress
    start: _common_pb2.ResultStart
    def __init__(self, accepted: _Optional[_Union[SegmentAccepted, _Mapping]] = ..., progress: _Optional[_Union[_common_pb2.Progress, _Mapping]] = ..., preview: _Optional[_Union[PreviewPart, _Mapping]] = ..., start: _Optional[_Union[_common_pb2.ResultStart, _Mapping]] = ..., objects: _Optional[_Union[_common_pb2.ObjectTable, _Mapping]] = ..., chunk: _Optional[_Union[_common_pb2.Chunk, _Mapping]] = ..., end: _Optional[_Union[_common_pb2.ChunkEnd, _Mapping]] = ...) -> None: ...

class Tiling(_message.Message):
    __slots__ = ["allow_smaller", "batch", "halo_px", "tile_px"]
    ALLOW_SMALLER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    HALO_PX_FIELD_NUMBER: _ClassVar[int]
    TILE_PX_FIELD_NUMBER: _ClassVar[int]
    allow_smaller: bool
    batch: int
    halo_px: int
    tile_px: int
    def __init__(self, tile_px: _Optional[int] = ..., halo_px: _Optional[int] = ..., batch: _Optional[int] = ..., allow_smaller: bool = ...) -> None: ...

class PlaneMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class StatisticsScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
