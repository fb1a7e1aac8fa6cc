#!/usr/bin/env python3
"""Makes seeds/ anew from the messages below (needs protoc): tests/fuzz/requests/make_seeds.py
The format of a seed stands at the top of fuzz_requests.c; what exists there (model "nuclei", jobs "done", "open", "run" and
"other", dataset "cells") in world.c, world_datasets.c, world_kept.c and world_training.c."""
import pathlib
import re
import struct
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[2] / "proto"
# In the order in which server/service/register.c registers them.
FILES = ["bioseg/v1/server.proto", "bioseg/v1/segmentation.proto", "bioseg/v1/models.proto", "bioseg/v1/jobs.proto",
         "bioseg/v1/datasets.proto", "bioseg/v1/training.proto", "bioseg/v1/comparisons.proto", "bioseg/v1/admin.proto", "grpc/health/v1/health.proto",
         "grpc/reflection/v1/reflection.proto"]
# These read their messages themselves, each with its length before it.
FRAMED = ["Segment", "SegmentStream", "Import", "Submit", "AddPair", "ServerReflectionInfo"]

RAW = 'encoding: IMAGE_ENCODING_RAW axes { name: "y" size: 4 } axes { name: "x" size: 4 } sample_type: SAMPLE_TYPE_UINT8'
RGB = ('encoding: IMAGE_ENCODING_RAW axes { name: "y" size: 2 pixel_size: 0.5 unit: "um" } '
       'axes { name: "x" size: 2 pixel_size: 500 unit: "nm" } axes { name: "c" size: 3 } '
       'sample_type: SAMPLE_TYPE_UINT16 channel_names: "DAPI" channel_names: "GFP" channel_names: "RFP"')
FILE = 'encoding: IMAGE_ENCODING_FILE axes { name: "y" pixel_size: 1 unit: "µm" } axes { name: "x" pixel_size: 1 unit: "µm" }'
SPEC = 'model { name: "nuclei" }'
FULL = ('model { name: "nuclei" version: 1 } parameters { key: "min_size" value { number: 10 } } '
        'parameters { key: "foreground_threshold" value { number: 0.25 } } channel_name: "GFP" no_data: nan '
        'target_pixel_size_um: 0.25 plane_mode: PLANE_MODE_INDEPENDENT statistics_scope: STATISTICS_SCOPE_BLOCK '
        'tiling { tile_px: 64 halo_px: 16 batch: 1 } precision: PRECISION_FP32 outputs: OUTPUT_LABELS outputs: OUTPUT_MAPS '
        'outputs: OUTPUT_OBJECT_TABLE min_size_um2: 2')
LATER = SPEC + ' region { y: 1 x: 1 height: 2 width: 2 } channel_index: 0 scale: 2 separate_planes: true outputs: OUTPUT_OVERLAY'
STACK = ('encoding: IMAGE_ENCODING_RAW axes { name: "t" size: 1 } axes { name: "z" size: 4 pixel_size: 2 unit: "um" } '
         'axes { name: "y" size: 2 } axes { name: "x" size: 2 } sample_type: SAMPLE_TYPE_UINT8')
LINKED = SPEC + ' region { y: 1 width: 1 z: 1 depth: 2 t: 0 duration: 1 } plane_mode: PLANE_MODE_LINKED statistics_scope: STATISTICS_SCOPE_STACK'
PAGES = 'encoding: IMAGE_ENCODING_FILE axes { name: "z" }'
PIXELS16, PIXELS24 = r"\001" * 16, r"\002" * 24
CHUNKS = [f'chunk {{ offset: 0 data: "{PIXELS16[:40]}" }}', f'chunk {{ offset: 10 data: "{PIXELS16[:24]}" }}',
          'end { total_bytes: 16 }']
SEEDS = {
    "Server.GetInfo": [[""]],
    "Segmentation.Segment": [
        [f'spec {{ {SPEC} }} image {{ {RAW} }} pixels: "{PIXELS16}"'],
        [f'spec {{ {FULL} }} image {{ {RGB} }} pixels: "{PIXELS24}"'],
        [f'spec {{ {LATER} }} image {{ {RAW} }} pixels: "{PIXELS16}"'],
        [f'spec {{ {LINKED} }} image {{ {STACK} }} pixels: "{PIXELS16}" keep_maps: true'],
        [f'spec {{ {SPEC} parameters {{ key: "min_size" value {{ number: 1 }} }} }} kept_maps_id: "maps"'],
        [f'spec {{ {SPEC} separate_planes: true statistics_scope: STATISTICS_SCOPE_REGION }} image {{ {PAGES} }} pixels: "TIFF"'],
        [(f'spec {{ {FULL} }}', f'spec {{ {FULL} }} image {{ {RGB} }} pixels: "{PIXELS24}"')],
        [f'spec {{ {SPEC} outputs: OUTPUT_MAPS precision: PRECISION_BF16 scale: 0.5 }} image {{ {FILE} }} pixels: "PNG"'],
    ],
    "Segmentation.SegmentStream": [
        [f'start {{ spec {{ {SPEC} }} image {{ {RAW} }} total_bytes: 16 }}', *CHUNKS],
        [f'start {{ spec {{ {FULL} }} image {{ {RGB} }} total_bytes: 24 }}', f'chunk {{ data: "{PIXELS24}" }}',
         'end { total_bytes: 24 sha256: "00" }'],
        [f'start {{ spec {{ {SPEC} channel_index: 0 }} image {{ {FILE} }} total_bytes: 3 }}', 'chunk { data: "abc" }',
         'end { total_bytes: 3 }'],
    ],
    "Models.List": [["page { size: 1 }"], ['page { size: 100 token: "nuclei:1" } project: ""'],
                    ['project: "p" labels { key: "a" value: "b" }']],
    "Models.Get": [['model { name: "nuclei" version: 1 }'], ['model { name: "nuclei" alias: "production" }'],
                   ['model { name: "none" }']],
    "Models.Import": [
        ['start { name: "new" total_bytes: 16 }', *CHUNKS],
        ['start { name: "new" total_bytes: 16 project: "p" labels { key: "a" value: "b" } time_to_live_ms: 1 }', *CHUNKS],
    ],
    "Models.Export": [['model { name: "nuclei" }']],
    "Models.Load": [['model { name: "nuclei" }']],
    "Models.Unload": [['model { name: "nuclei" }']],
    "Models.Delete": [['model { name: "nuclei" version: 1 }'], ['model { name: "nuclei" }']],
    "Models.SetAlias": [['model { name: "nuclei" version: 1 } alias: "confocal" reason: "sharper"']],
    "Models.Promote": [['model { name: "nuclei" alias: "newest" } reason: "better"'], ['model { name: "nuclei" }']],
    "Models.Rollback": [['name: "nuclei" reason: "worse"'], ['name: "none" alias: "confocal"']],
    "Models.DeleteAlias": [['name: "nuclei" alias: "confocal"']],
    "Models.ListAliasMoves": [['name: "nuclei" page { size: 1 }'], ['name: "nuclei" alias: "production" page { token: "7" }']],
    "Comparisons.Start": [
        ['candidate { name: "nuclei" version: 1 } baseline { name: "nuclei" alias: "production" } dataset: "cells" force: true '
         'seed: 3 resamples: 200 confidence: 0.9'],
        ['idempotency_key: "k" project: "p" labels { key: "a" value: "b" } dry_run: true candidate { name: "nuclei" } '
         'baseline { name: "nuclei" } dataset: "cells" split: SPLIT_VALIDATION'],
    ],
    "Comparisons.Get": [['job_id: "done"'], ['job_id: "none"']],
    "Jobs.Submit": [
        [f'start {{ idempotency_key: "again" image {{ {RAW} }} total_bytes: 16 segment {{ {SPEC} }} }}', *CHUNKS],
        [f'start {{ idempotency_key: "taken" project: "p" image {{ {RAW} }} total_bytes: 16 segment {{ {SPEC} }} }}', *CHUNKS],
        [f'start {{ dry_run: true image {{ {RGB} }} segment {{ {FULL} }} }}'],
        [f'start {{ dry_run: true image {{ {STACK} }} segment {{ {LINKED} }} }}'],
        [f'start {{ labels {{ key: "a" value: "b" }} time_to_live_ms: 5 image {{ {FILE} }} total_bytes: 3 segment {{ {SPEC} }} }}'],
    ],
    "Jobs.Get": [['id: "done"'], ['id: "open"'], ['id: "run"'], ['id: "other"'], ['id: "none"']],
    "Jobs.List": [["page { size: 1 } state: JOB_STATE_SUCCEEDED"], ["page { size: 100 }"],
                  ['project: "p" labels { key: "a" value: "b" }']],
    "Jobs.Watch": [['id: "done"'], ['id: "open" after_revision: 1'], ['id: "open" after_revision: 9']],
    "Jobs.Cancel": [['id: "open"'], ['id: "done"']],
    "Jobs.Delete": [['id: "done"'], ['id: "open"']],
    "Jobs.GetResult": [['id: "done"'], ['id: "done" outputs: OUTPUT_LABELS outputs: OUTPUT_OBJECT_TABLE'], ['id: "open"'],
                       ['id: "done" outputs: OUTPUT_OVERLAY']],
    "Datasets.Create": [['dataset { name: "d" project: "p" description: "x" licence: "CC0" labels { key: "a" value: "b" } }'],
                        ['dataset { name: "cells" }'], ['dataset { name: "e" expires_ms: 99999999999999 }']],
    "Datasets.Get": [['name: "cells"'], ['name: "none"']],
    "Datasets.List": [["page { size: 1 }"], ['page { size: 100 token: "c" } project: "p" labels { key: "a" value: "b" }']],
    "Datasets.Delete": [['name: "cells"'], ['name: "none"']],
    "Datasets.AddPair": [
        [f'start {{ dataset: "cells" pair {{ name: "x.png" group: "g" split: SPLIT_TRAIN image {{ encoding: IMAGE_ENCODING_FILE }} }} '
         f'image_bytes: 16 labels_bytes: 3 }}', *CHUNKS[:2], 'chunk { artifact: 1 data: "abc" }', 'end { total_bytes: 19 }'],
        [f'start {{ dataset: "cells" pair {{ name: "x.png" split: SPLIT_TEST image_sha256: "{"0" * 64}" labels_sha256: "{"0" * 64}" }} '
         f'group_across_splits: true }}', 'end { }'],
        [f'start {{ dataset: "cells" pair {{ name: "x" split: SPLIT_TRAIN image {{ {RAW} }} labels {{ {RAW} }} }} }}'],
    ],
    "Datasets.Missing": [[f'sha256: "{"0" * 64}" sha256: "{"1" * 64}"'], ['sha256: "x"']],
    "Datasets.ListPairs": [['dataset: "cells" page { size: 1 }'], ['dataset: "cells" split: SPLIT_TEST'], ['dataset: "none"']],
    "Datasets.DeletePair": [['dataset: "cells" id: "pair"'], ['dataset: "cells" id: "x"'], ['dataset: "cells"']],
    "Training.Describe": [['architecture: "unet"'], ['architecture: "vimunet" recipe: "boundaries"'], ['architecture: "x"']],
    "Training.Start": [
        ['idempotency_key: "k" labels { key: "a" value: "b" }'],
        ['spec { architecture: "unet" dataset: "cells" recipe: "boundaries" model_name: "new" seed: 3 '
         'parameters { key: "patch" value { number: 64 } } parameters { key: "flips" value { flag: false } } '
         'parameters { key: "optimizer" value { choice: "adamw" } } }'],
        ['idempotency_key: "taken" spec { initial { name: "nuclei" } dataset: "cells" model_name: "nuclei" '
         'parameters { key: "epochs" value { number: 5 } } }'],
        ['dry_run: true spec { architecture: "unetr" dataset: "cells" model_name: "new" }'],
    ],
    "Training.WatchMetrics": [['job_id: "run"'], ['job_id: "run" after_step: 1'], ['job_id: "open"']],
    "Training.Resume": [['job_id: "run"'], ['job_id: "other"']],
    "Training.Pause": [['job_id: "run"'], ['job_id: "done"']],
    "Training.SetLearningRate": [['job_id: "run" learning_rate: 1e-5'], ['job_id: "run" learning_rate: 7']],
    "Health.Check": [[""], ['service: "bioseg.v1.Segmentation"'], ['service: "none"']],
    "Health.Watch": [['service: "bioseg.v1.Jobs"'], ['service: "none"']],
    "ServerReflection.ServerReflectionInfo": [
        ['list_services: ""', 'file_containing_symbol: "bioseg.v1.Jobs.Submit"',
         'file_by_filename: "bioseg/v1/common.proto"', 'file_containing_extension { containing_type: "a" extension_number: 1 }',
         'all_extension_numbers_of_type: "a"'],
        ['host: "h" file_containing_symbol: "grpc.health.v1.HealthCheckResponse.ServingStatus"'],
    ],
}


def encode(file, message, text):
    """A tuple: messages one after the other, which is how fields come twice."""
    if isinstance(text, tuple):
        return b"".join(encode(file, message, t) for t in text)
    return subprocess.run(["protoc", f"-I{PROTO}", f"--encode={message}", file], input=text.encode(), stdout=subprocess.PIPE,
                          check=True).stdout


def main():
    for old in (HERE / "seeds").glob("*"):
        old.unlink()
    missing = set(SEEDS)
    for number, file in enumerate(FILES):
        text = (PROTO / file).read_text()
        package = re.search(r"^package ([\w.]+);", text, re.M).group(1)
        service = re.search(r"^service (\w+) {", text, re.M).group(1)
        for method, (name, request) in enumerate(re.findall(r"^  rpc (\w+)\((?:stream )?(\w+)\)", text, re.M)):
            full = f"{service}.{name}"
            missing.discard(full)
            for i, messages in enumerate(SEEDS.get(full, [[""]])):
                encoded = [encode(file, f"{package}.{request}", m) for m in messages]
                if name in FRAMED:
                    encoded = [struct.pack("<H", len(e)) + e for e in encoded]
                (HERE / "seeds" / f"{full}.{i}").write_bytes(bytes([number, method, 63]) + b"".join(encoded))
    assert not missing, missing


main()
