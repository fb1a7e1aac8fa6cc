from bioseg.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
LABEL_ORIGIN_DRAWN: LabelOrigin
LABEL_ORIGIN_PREDICTED: LabelOrigin
LABEL_ORIGIN_UNSPECIFIED: LabelOrigin
SPLIT_TEST: Split
SPLIT_TRAIN: Split
SPLIT_UNSPECIFIED: Split
SPLIT_VALIDATION: Split

class AddPairRequest(_message.Message):
    __slots__ = ["chunk", "end", "start"]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    chunk: _common_pb2.Chunk
    end: _common_pb2.ChunkEnd
    start: AddPairStart
    def __init__(self, start: _Optional[_Union[AddPairStart, _Mapping]] = ..., chunk: _Optional[_Union[_common_pb2.Chunk, _Mapping]] = ..., end: _Optional[_Union[_common_pb2.ChunkEnd, _Mapping]] = ...) -> None: ...

class AddPairResponse(_message.Message):
    __slots__ = ["existing", "pair"]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    PAIR_FIELD_NUMBER: _ClassVar[int]
    existing: bool
    pair: Pair
    def __init__(self, pair: _Optional[_Union[Pair, _Mapping]] = ..., existing: bool = ...) -> None: ...

class AddPairStart(_message.Message):
    __slots__ = ["dataset", "group_across_splits", "image_bytes", "labels_bytes", "pair", "prediction_bytes"]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    GROUP_ACROSS_SPLITS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LABELS_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAIR_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_BYTES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    group_across_splits: bool
    image_bytes: int
    labels_bytes: int
    pair: Pair
    prediction_bytes: int
    def __init__(self, dataset: _Optional[str] = ..., pair: _Optional[_Union[Pair, _Mapping]] = ..., image_bytes: _Optional[int] = ..., labels_bytes: _Optional[int] = ..., group_across_splits: bool = ..., prediction_bytes: _Optional[int] = ...) -> None: ...

class Annotation(_message.Message):
    __slots__ = ["annotated", "done", "ignore_label", "ignored", "origin"]
    ANNOTATED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    IGNORE_LABEL_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    annotated: _containers.RepeatedCompositeFieldContainer[_common_pb2.Region]
    done: bool
    ignore_label: int
    ignored: _containers.RepeatedCompositeFieldContainer[_common_pb2.Region]
    origin: LabelOrigin
    def __init__(self, ignore_label: _Optional[int] = ..., annotated: _Optional[_Iterable[_Union[_common_pb2.Region, _Mapping]]] = ..., ignored: _Optional[_Iterable[_Union[_common_pb2.Region, _Mapping]]] = ..., origin: _Optional[_Union[LabelOrigin, str]] = ..., done: bool = ...) -> None: ...

class CreateDatasetRequest(_message.Message):
    __slots__ = ["dataset"]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class CreateDatasetResponse(_message.Message):
    __slots__ = ["dataset"]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ["created_ms", "description", "expires_ms", "groups_across_splits", "labels", "licence", "name", "owner", "pair_count", "project", "test_count", "total_bytes", "train_count", "validation_count"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_ACROSS_SPLITS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PAIR_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    created_ms: int
    description: str
    expires_ms: int
    groups_across_splits: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    licence: str
    name: str
    owner: str
    pair_count: int
    project: str
    test_count: int
    total_bytes: int
    train_count: int
    validation_count: int
    def __init__(self, name: _Optional[str] = ..., owner: _Optional[str] = ..., project: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., description: _Optional[str] = ..., licence: _Optional[str] = ..., created_ms: _Optional[int] = ..., expires_ms: _Optional[int] = ..., pair_count: _Optional[int] = ..., total_bytes: _Optional[int] = ..., train_count: _Optional[int] = ..., validation_count: _Optional[int] = ..., test_count: _Optional[int] = ..., groups_across_splits: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteDatasetResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class DeletePairRequest(_message.Message):
    __slots__ = ["dataset", "id"]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    id: str
    def __init__(self, dataset: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class DeletePairResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetDatasetResponse(_message.Message):
    __slots__ = ["dataset"]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ["labels", "page", "project"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    page: _common_pb2.Page
    project: str
    def __init__(self, page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ..., project: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ["datasets", "next_page_token"]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListPairsRequest(_message.Message):
    __slots__ = ["dataset", "page", "split"]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    page: _common_pb2.Page
    split: Split
    def __init__(self, dataset: _Optional[str] = ..., page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ..., split: _Optional[_Union[Split, str]] = ...) -> None: ...

class ListPairsResponse(_message.Message):
    __slots__ = ["next_page_token", "pairs"]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    next_page_token: str
    pairs: _containers.RepeatedCompositeFieldContainer[Pair]
    def __init__(self, pairs: _Optional[_Iterable[_Union[Pair, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class MissingFilesRequest(_message.Message):
    __slots__ = ["sha256"]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sha256: _Optional[_Iterable[str]] = ...) -> None: ...

class MissingFilesResponse(_message.Message):
    __slots__ = ["sha256"]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sha256: _Optional[_Iterable[str]] = ...) -> None: ...

class Pair(_message.Message):
    __slots__ = ["annotation", "created_ms", "group", "id", "image", "image_sha256", "labels", "labels_sha256", "name", "object_count", "prediction", "prediction_sha256", "split"]
    ANNOTATION_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LABELS_SHA256_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OBJECT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_SHA256_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    annotation: Annotation
    created_ms: int
    group: str
    id: str
    image: _common_pb2.ImageDescription
    image_sha256: str
    labels: _common_pb2.ImageDescription
    labels_sha256: str
    name: str
    object_count: int
    prediction: _common_pb2.ImageDescription
    prediction_sha256: str
    split: Split
    def __init__(self, id: _Optional[str] = ..., split: _Optional[_Union[Split, str]] = ..., image: _Optional[_Union[_common_pb2.ImageDescription, _Mapping]] = ..., labels: _Optional[_Union[_common_pb2.ImageDescription, _Mapping]] = ..., image_sha256: _Optional[str] = ..., labels_sha256: _Optional[str] = ..., name: _Optional[str] = ..., group: _Optional[str] = ..., object_count: _Optional[int] = ..., created_ms: _Optional[int] = ..., annotation: _Optional[_Union[Annotation, _Mapping]] = ..., prediction: _Optional[_Union[_common_pb2.ImageDescription, _Mapping]] = ..., prediction_sha256: _Optional[str] = ...) -> None: ...

class UpdatePairRequest(_message.Message):
    __slots__ = ["annotation", "dataset", "id"]
    ANNOTATION_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    annotation: Annotation
    dataset: str
    id: str
    def __init__(self, dataset: _Optional[str] = ..., id: _Optional[str] = ..., annotation: _Optional[_Union[Annotation, _Mapping]] = ...) -> None: ...

class UpdatePairResponse(_message.Message):
    __slots__ = ["pair"]
    PAIR_FIELD_NUMBER: _ClassVar[int]
    pair: Pair
    def __init__(self, pair: _Optional[_Union[Pair, _Mapping]] = ...) -> None: ...

class Split(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class LabelOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
