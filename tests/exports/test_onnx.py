"""ONNX files of `bioseg models export`, run by ONNX Runtime and compared with the original networks."""
import functools
import json
import struct

import networks  # tests/bench: the formula rule
import numpy as np
import onnxruntime
import pytest
import torch
from conftest import CLOSE, GOLDEN, grey_image, standardised
from original import torch_em
from torch_em.model.vit import ViT_Sam

torch.set_grad_enabled(False)
SMALL = GOLDEN / "small"


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(onnx, image):
    return onnx.run(["output"], {"input": image})[0]


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        header[name] = {"dtype": {"float32": "F32", "int64": "I64"}[value.dtype.name], "shape": list(value.shape),
                        "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@functools.lru_cache
def formula_case(case):
    """Weights of a golden case, by the formula rule."""
    networks.SEED = json.loads((SMALL / case / "info.json").read_text())["seed"]
    rows = [line.split("\t") for line in (SMALL / case / "manifest.tsv").read_text().splitlines()[1:]]
    return {name: networks.formula_weights(name, tuple(int(n) for n in shape.split(",") if n))
            for name, _, _, shape, _ in rows}


def exported(bioseg, folder, case, *options):
    """A golden case through conversion, registry and export."""
    write_safetensors(folder / "weights.safetensors", formula_case(case))
    bioseg.local("convert", folder / "weights.safetensors", "-o", folder / "model.safetensors", *options)
    bioseg.run("models", "import", folder / "model.safetensors", "--name", case)
    return bioseg.export(case, "onnx", folder / f"{case}.onnx")


@pytest.mark.parametrize("case", ["unet_gn", "unet_bn", "unet_none", "unet_ct"])
def test_every_kind_of_unet_gives_the_originals_output_at_any_size_and_batch(bioseg, tmp_path, case):
    onnx = session(exported(bioseg, tmp_path, case))
    for size in ("", "_48x80"):
        image, output = (np.load(SMALL / case / f"{what}{size}.npy") for what in ("input", "output"))
        np.testing.assert_allclose(run(onnx, image), output, rtol=0, atol=5e-5)


def sam_unetr(size, width, depth, heads, window, whole, out_chans=16, apply_neck=False, **options):
    encoder = ViT_Sam(img_size=size, patch_size=16, in_chans=3, embed_dim=width, depth=depth, num_heads=heads, mlp_ratio=4,
                      out_chans=out_chans, qkv_bias=True, norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
                      use_rel_pos=True, window_size=window, global_attn_indexes=whole, apply_neck=apply_neck)
    encoder.img_size = size
    return torch_em.model.UNETR(img_size=size, encoder=encoder, embed_dim=out_chans if apply_neck else width, out_channels=3,
                                final_activation="Sigmoid", initial_features=4, perform_range_checks=False, **options).eval()


UNETR = {
    "unetr_skip": functools.partial(sam_unetr, 96, 32, 6, 4, 4, [1, 3, 5]),
    "unetr_skip_ct": functools.partial(sam_unetr, 96, 32, 6, 4, 4, [1, 3, 5], use_conv_transpose=True),
    "unetr_samstats": functools.partial(sam_unetr, 96, 32, 6, 4, 4, [1, 3, 5], use_skip_connection=False, use_sam_stats=True),
}


@pytest.mark.parametrize("case", UNETR)
def test_a_unetr_gives_the_originals_output_at_its_encoders_size(bioseg, tmp_path, case):
    statistics = case == "unetr_samstats"
    onnx = session(exported(bioseg, tmp_path, case, *(["--sam-statistics", "yes"] if statistics else [])))
    network = UNETR[case]()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in formula_case(case).items()})
    image = networks.formula_image(96, 3)
    if statistics:
        image = 40 * image + 100
    np.testing.assert_allclose(run(onnx, image), network(torch.from_numpy(image)).numpy(), rtol=0, atol=5e-5)


@pytest.mark.parametrize("case", ["unetr_head64", "unetr_head80"])
def test_windows_that_stick_out_and_the_neck_come_through(bioseg, tmp_path, case):
    onnx = session(exported(bioseg, tmp_path, case))
    image, logits = (np.load(SMALL / case / f"{what}.npy") for what in ("input", "logits"))
    size = logits.shape[-1]
    padded = np.pad(image, [(0, 0), (0, 0)] + [(0, size - n) for n in image.shape[2:]])
    output = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(run(onnx, padded), output, rtol=0, atol=5e-5)


def test_the_daemons_maps_are_onnx_runtimes(bioseg, tmp_path):
    onnx = session(bioseg.export("nuclei", "onnx", tmp_path / "nuclei.onnx"))
    image = grey_image(112, 160)
    np.testing.assert_allclose(bioseg.maps("nuclei", image), run(onnx, standardised(image)[None, None])[0], **CLOSE)
    [shape] = [i.shape for i in onnx.get_inputs()]
    assert shape == ["batch", 1, "height", "width"]
    assert json.loads(onnx.get_modelmeta().custom_metadata_map["bioseg"])["recipe"] == "distances"


def test_weights_in_a_file_of_their_own_are_found_beside_the_model(bioseg, tmp_path):
    inside = bioseg.export("nuclei", "onnx", tmp_path / "inside.onnx")
    outside = bioseg.export("nuclei", "onnx", tmp_path / "outside.onnx", "--external-data")
    assert outside.stat().st_size < 100_000 and (tmp_path / "outside.onnx.data").stat().st_size > 7_000_000
    image = standardised(grey_image(64, 64))[None, None]
    assert np.array_equal(run(session(inside), image), run(session(outside), image))
    (tmp_path / "other.onnx.data").write_text("mine")
    assert "other.onnx.data exists" in bioseg.run("models", "export", "nuclei", "--format", "onnx", "-o", tmp_path / "other.onnx", code=2)


def test_a_selective_scan_is_refused_and_nothing_is_written(bioseg, tmp_path):
    path = tmp_path / "scan.onnx"
    said = bioseg.run("models", "export", "mini-vimunet", "--format", "onnx", "-o", path, code=6)
    assert "selective scan" in said and not list(tmp_path.iterdir())
