"""bioimage.io packages that come in: our own lose nothing, those of others become what they say, the rest is refused in words."""
import hashlib
import io
import json
import os
import zipfile

import numpy as np
import pytest
import torch
from conftest import CLOSE, grey_image, safetensors, standardised
from original import torch_em

torch.set_grad_enabled(False)
GIVEN = ["--author", "A. Person", "--licence", "CC0-1.0", "--title", "nuclei of the tests"]


def described(path):
    data = path.read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["bioseg"])


def test_a_package_of_ours_comes_back_as_the_model_it_was(bioseg, tmp_path):
    package = bioseg.export("nuclei", "bioimageio", tmp_path / "nuclei.zip", *GIVEN)
    assert "imported again version 1" in bioseg.run("models", "import", package, "--name", "again")
    before, after = (bioseg.export(m, "safetensors", tmp_path / f"{m}.safetensors") for m in ("nuclei", "again"))
    first, second = safetensors(before), safetensors(after)
    assert list(first) == list(second) and all(np.array_equal(first[k], second[k]) for k in first)
    assert described(before) | {"licence": "CC0-1.0"} == described(after)


def stranger(path, network, **changes):
    """A package as another program would write it, with the weights of a network of torch_em."""
    weights = io.BytesIO()
    torch.save(network.state_dict(), weights)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/state.pt", weights.getvalue())
        archive.writestr("rdf.yaml", changes.pop("rdf").format(sha256=hashlib.sha256(weights.getvalue()).hexdigest()))
    return path


RDF_05 = """
format_version: 0.5.3
type: model
name: someone's cells
description: >
  Cells, folded
  over lines.
authors: [{{name: C. Author}}, {{name: D. Author}}]
license: MIT
inputs:
- id: raw
  axes:
  - {{type: batch}}
  - {{type: channel, channel_names: [raw]}}
  - {{type: space, id: y, size: {{min: 32, step: 16}}}}
  - {{type: space, id: x, size: {{min: 32, step: 16}}}}
  preprocessing:
  - {{id: ensure_dtype, kwargs: {{dtype: float32}}}}
  - {{id: zero_mean_unit_variance, kwargs: {{axes: [channel, y, x]}}}}
outputs:
- id: out
  postprocessing:
  - id: sigmoid
weights:
  pytorch_state_dict:
    source: ./weights/state.pt
    sha256: {sha256}
    architecture: {{import_from: torch_em.model, callable: UNet2d, kwargs: {{out_channels: 2, final_activation: null}}}}
"""

RDF_04 = """
format_version: 0.4.10
type: model
name: older cells
description: Older
authors:
  - name: E. Author
license: MIT
inputs:
  - name: raw
    axes: bcyx
    shape: {{min: [1, 1, 64, 64], step: [0, 0, 16, 16]}}
    preprocessing:
      - name: zero_mean_unit_variance
        kwargs: {{mode: per_sample, axes: yx}}
outputs:
  - name: out
weights:
  pytorch_state_dict:
    source: weights/state.pt
    sha256: {sha256}
    architecture: torch_em.model.UNet2d
    kwargs: {{in_channels: 1, out_channels: 2, final_activation: Sigmoid}}
"""


@pytest.mark.parametrize("rdf, name", [(RDF_05, "of-05"), (RDF_04, "of-04")])
def test_a_strangers_package_becomes_what_it_says(bioseg, tmp_path, rdf, name):
    torch.manual_seed(3)
    network = torch_em.model.UNet2d(in_channels=1, out_channels=2, depth=2, initial_features=8, final_activation="Sigmoid").eval()
    bioseg.run("models", "import", stranger(tmp_path / "package.zip", network, rdf=rdf), "--name", name)
    model = json.loads(bioseg.run("models", "describe", name, "--json"))
    assert model["normalisation"] == "standardise" and model["licence"] == "MIT" and model["recipe"] == "boundaries"
    assert "Author" in model["source"] and "final_activation" not in model.get("assumed", "")
    image = grey_image(64, 96)
    expected = network(torch.from_numpy(standardised(image))[None, None])[0].numpy()
    np.testing.assert_allclose(bioseg.maps(name, image), expected, **CLOSE)


def test_what_is_refused_says_why_and_leaves_nothing_behind(bioseg, tmp_path):
    network = torch_em.model.UNet2d(in_channels=1, out_channels=2, depth=2, initial_features=4)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    os.environ["TMPDIR"] = str(scratch)
    try:
        for rdf, said in [
            (RDF_05.replace("./weights/state.pt", "../weights/state.pt"), "only a file inside the package"),
            (RDF_05.replace("./weights/state.pt", "https://example.org/state.pt"), "only a file inside the package"),
            (RDF_05.replace("./weights/state.pt", "weights/other.pt"), "lacks weights/other.pt"),
            (RDF_05.replace("{sha256}", "ab" * 32), "is not what rdf.yaml says"),
            (RDF_05.replace("pytorch_state_dict:", "torchscript:"), "weights are torchscript"),
            (RDF_05.replace("zero_mean_unit_variance", "binarize"), "binarize"),
        ]:
            package = stranger(tmp_path / "package.zip", network, rdf=rdf)
            assert said in bioseg.run("models", "import", package, "--name", "never", code=6), said
        torch.save(network.state_dict(), tmp_path / "state.pt")
        assert "bioseg convert" in bioseg.run("models", "import", tmp_path / "state.pt", "--name", "never", code=6)
        bomb = tmp_path / "bomb.zip"
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("rdf.yaml", RDF_05.format(sha256="ab" * 32))
            archive.writestr("weights/state.pt", bytes(30_000_000))
        assert "more than 64 times" in bioseg.run("models", "import", bomb, "--name", "never", code=6)
        assert not list(scratch.iterdir())
    finally:
        del os.environ["TMPDIR"]
    assert "never" not in bioseg.run("models", "list")
