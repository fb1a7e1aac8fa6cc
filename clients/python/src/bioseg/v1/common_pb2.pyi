from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
IMAGE_ENCODING_FILE: ImageEncoding
IMAGE_ENCODING_RAW: ImageEncoding
IMAGE_ENCODING_UNSPECIFIED: ImageEncoding
OUTPUT_LABELS: Output
OUTPUT_MAPS: Output
OUTPUT_OBJECT_TABLE: Output
OUTPUT_OVERLAY: Output
OUTPUT_POLYGONS: Output
OUTPUT_UNSPECIFIED: Output
PARAMETER_TYPE_BOOL: ParameterType
PARAMETER_TYPE_ENUM: ParameterType
PARAMETER_TYPE_FLOAT: ParameterType
PARAMETER_TYPE_INT: ParameterType
PARAMETER_TYPE_UNSPECIFIED: ParameterType
SAMPLE_TYPE_FLOAT32: SampleType
SAMPLE_TYPE_FLOAT64: SampleType
SAMPLE_TYPE_INT16: SampleType
SAMPLE_TYPE_INT32: SampleType
SAMPLE_TYPE_INT8: SampleType
SAMPLE_TYPE_UINT16: SampleType
SAMPLE_TYPE_UINT32: SampleType
SAMPLE_TYPE_UINT8: SampleType
SAMPLE_TYPE_UNSPECIFIED: SampleType

class Artifact(_message.Message):
    __slots__ = ["image", "output", "total_bytes"]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    image: ImageDescription
    output: Output
    total_bytes: int
    def __init__(self, output: _Optional[_Union[Output, str]] = ..., image: _Optional[_Union[ImageDescription, _Mapping]] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class Axis(_message.Message):
    __slots__ = ["name", "pixel_size", "size", "unit"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    pixel_size: float
    size: int
    unit: str
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., pixel_size: _Optional[float] = ..., unit: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ["artifact", "crc32c", "data", "offset"]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    artifact: int
    crc32c: int
    data: bytes
    offset: int
    def __init__(self, offset: _Optional[int] = ..., crc32c: _Optional[int] = ..., data: _Optional[bytes] = ..., artifact: _Optional[int] = ...) -> None: ...

class ChunkEnd(_message.Message):
    __slots__ = ["sha256", "total_bytes"]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    total_bytes: int
    def __init__(self, total_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class ImageDescription(_message.Message):
    __slots__ = ["axes", "channel_names", "encoding", "sample_type"]
    AXES_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_NAMES_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_TYPE_FIELD_NUMBER: _ClassVar[int]
    axes: _containers.RepeatedCompositeFieldContainer[Axis]
    channel_names: _containers.RepeatedScalarFieldContainer[str]
    encoding: ImageEncoding
    sample_type: SampleType
    def __init__(self, encoding: _Optional[_Union[ImageEncoding, str]] = ..., axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., sample_type: _Optional[_Union[SampleType, str]] = ..., channel_names: _Optional[_Iterable[str]] = ...) -> None: ...

class KeptMaps(_message.Message):
    __slots__ = ["bytes", "expires_ms", "id"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    expires_ms: int
    id: str
    def __init__(self, id: _Optional[str] = ..., expires_ms: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ["alias", "name", "version"]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    alias: str
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., alias: _Optional[str] = ...) -> None: ...

class ObjectTable(_message.Message):
    __slots__ = ["area_px", "area_um2", "bottom", "centroid_x_px", "centroid_x_um", "centroid_y_px", "centroid_y_um", "centroid_z", "id", "left", "mean_intensity", "right", "t", "top", "z", "z_end"]
    AREA_PX_FIELD_NUMBER: _ClassVar[int]
    AREA_UM2_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    CENTROID_X_PX_FIELD_NUMBER: _ClassVar[int]
    CENTROID_X_UM_FIELD_NUMBER: _ClassVar[int]
    CENTROID_Y_PX_FIELD_NUMBER: _ClassVar[int]
    CENTROID_Y_UM_FIELD_NUMBER: _ClassVar[int]
    CENTROID_Z_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    MEAN_INTENSITY_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    T_FIELD_NUMBER: _ClassVar[int]
    Z_END_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    area_px: _containers.RepeatedScalarFieldContainer[int]
    area_um2: _containers.RepeatedScalarFieldContainer[float]
    bottom: _containers.RepeatedScalarFieldContainer[int]
    centroid_x_px: _containers.RepeatedScalarFieldContainer[float]
    centroid_x_um: _containers.RepeatedScalarFieldContainer[float]
    centroid_y_px: _containers.RepeatedScalarFieldContainer[float]
    centroid_y_um: _containers.RepeatedScalarFieldContainer[float]
    centroid_z: _containers.RepeatedScalarFieldContainer[float]
    id: _containers.RepeatedScalarFieldContainer[int]
    left: _containers.RepeatedScalarFieldContainer[int]
    mean_intensity: _containers.RepeatedScalarFieldContainer[float]
    right: _containers.RepeatedScalarFieldContainer[int]
    t: _containers.RepeatedScalarFieldContainer[int]
    top: _containers.RepeatedScalarFieldContainer[int]
    z: _containers.RepeatedScalarFieldContainer[int]
    z_end: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., area_px: _Optional[_Iterable[int]] = ..., centroid_y_px: _Optional[_Iterable[float]] = ..., centroid_x_px: _Optional[_Iterable[float]] = ..., top: _Optional[_Iterable[int]] = ..., left: _Optional[_Iterable[int]] = ..., bottom: _Optional[_Iterable[int]] = ..., right: _Optional[_Iterable[int]] = ..., mean_intensity: _Optional[_Iterable[float]] = ..., area_um2: _Optional[_Iterable[float]] = ..., centroid_y_um: _Optional[_Iterable[float]] = ..., centroid_x_um: _Optional[_Iterable[float]] = ..., t: _Optional[_Iterable[int]] = ..., z: _Optional[_Iterable[int]] = ..., z_end: _Optional[_Iterable[int]] = ..., centroid_z: _Optional[_Iterable[float]] = ...) -> None: ...

class Page(_message.Message):
    __slots__ = ["size", "token"]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    size: int
    token: str
    def __init__(self, size: _Optional[int] = ..., token: _Optional[str] = ...) -> None: ...

class ParameterSpec(_message.Message):
    __slots__ = ["advanced", "choices", "default_value", "help", "maximum", "minimum", "name", "network", "step", "title", "type", "unit"]
    ADVANCED_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    HELP_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    advanced: bool
    choices: _containers.RepeatedScalarFieldContainer[str]
    default_value: float
    help: str
    maximum: float
    minimum: float
    name: str
    network: bool
    step: float
    title: str
    type: ParameterType
    unit: str
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., help: _Optional[str] = ..., type: _Optional[_Union[ParameterType, str]] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., step: _Optional[float] = ..., default_value: _Optional[float] = ..., unit: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ..., advanced: bool = ..., network: bool = ...) -> None: ...

class ParameterValue(_message.Message):
    __slots__ = ["choice", "flag", "number"]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    choice: str
    flag: bool
    number: float
    def __init__(self, number: _Optional[float] = ..., flag: bool = ..., choice: _Optional[str] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ["peak_bytes", "seconds"]
    PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    peak_bytes: int
    seconds: float
    def __init__(self, peak_bytes: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ["tiles_done", "tiles_total"]
    TILES_DONE_FIELD_NUMBER: _ClassVar[int]
    TILES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    tiles_done: int
    tiles_total: int
    def __init__(self, tiles_done: _Optional[int] = ..., tiles_total: _Optional[int] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ["algorithms", "device", "halo_px", "input_sha256", "kept_maps", "model_name", "model_sha256", "model_version", "network_seconds", "parameters", "plan_hash", "postprocessing_seconds", "software_version", "tile_px", "tiled"]
    class ParametersEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    HALO_PX_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    KEPT_MAPS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NETWORK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESSING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TILED_FIELD_NUMBER: _ClassVar[int]
    TILE_PX_FIELD_NUMBER: _ClassVar[int]
    algorithms: str
    device: str
    halo_px: int
    input_sha256: str
    kept_maps: bool
    model_name: str
    model_sha256: str
    model_version: int
    network_seconds: float
    parameters: _containers.ScalarMap[str, str]
    plan_hash: str
    postprocessing_seconds: float
    software_version: str
    tile_px: int
    tiled: bool
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., model_sha256: _Optional[str] = ..., input_sha256: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ..., software_version: _Optional[str] = ..., plan_hash: _Optional[str] = ..., algorithms: _Optional[str] = ..., device: _Optional[str] = ..., tiled: bool = ..., tile_px: _Optional[int] = ..., halo_px: _Optional[int] = ..., network_seconds: _Optional[float] = ..., postprocessing_seconds: _Optional[float] = ..., kept_maps: bool = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ["depth", "duration", "height", "t", "width", "x", "y", "z"]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    T_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    depth: int
    duration: int
    height: int
    t: int
    width: int
    x: int
    y: int
    z: int
    def __init__(self, y: _Optional[int] = ..., x: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., z: _Optional[int] = ..., depth: _Optional[int] = ..., t: _Optional[int] = ..., duration: _Optional[int] = ...) -> None: ...

class ResultStart(_message.Message):
    __slots__ = ["artifacts", "result"]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[Artifact]
    result: SegmentResult
    def __init__(self, result: _Optional[_Union[SegmentResult, _Mapping]] = ..., artifacts: _Optional[_Iterable[_Union[Artifact, _Mapping]]] = ...) -> None: ...

class SegmentResult(_message.Message):
    __slots__ = ["height", "kept_maps", "object_count", "pixel_size_um", "plane_axes", "planes", "provenance", "region", "warnings", "width"]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    KEPT_MAPS_FIELD_NUMBER: _ClassVar[int]
    OBJECT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SIZE_UM_FIELD_NUMBER: _ClassVar[int]
    PLANES_FIELD_NUMBER: _ClassVar[int]
    PLANE_AXES_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    height: int
    kept_maps: KeptMaps
    object_count: int
    pixel_size_um: float
    plane_axes: _containers.RepeatedCompositeFieldContainer[Axis]
    planes: str
    provenance: Provenance
    region: Region
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    width: int
    def __init__(self, object_count: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., pixel_size_um: _Optional[float] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., kept_maps: _Optional[_Union[KeptMaps, _Mapping]] = ..., plane_axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., planes: _Optional[str] = ..., region: _Optional[_Union[Region, _Mapping]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ["code", "text"]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class SampleType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class ImageEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class ParameterType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Output(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
