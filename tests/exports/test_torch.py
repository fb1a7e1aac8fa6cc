"""Checkpoints of `bioseg models export`, opened by PyTorch and by torch_em."""
import collections
import functools
import pickletools
import zipfile

import numpy as np
import pytest
import torch
from conftest import CLOSE, GOLDEN, grey_image, safetensors, standardised
from original import torch_em
from torch_em.model.vit import ViT_Sam

torch.set_grad_enabled(False)


def equal_to_the_registry(bioseg, model, state, tmp_path):
    registered = safetensors(bioseg.export(model, "safetensors", tmp_path / f"{model}.safetensors"))
    assert state.keys() == registered.keys()  # in whatever order: the network has its own
    for name, value in registered.items():
        assert state[name].numpy().dtype == value.dtype and np.array_equal(state[name].numpy(), value), name


def test_torch_em_makes_trainer_and_network_from_the_checkpoint_alone(bioseg, tmp_path):
    bioseg.export("nuclei", "pt", tmp_path / "best.pt")
    trainer = torch_em.util.get_trainer(str(tmp_path), device="cpu")
    assert trainer.iteration == 0
    network = torch_em.util.load_model(str(tmp_path), device="cpu")
    assert type(network) is torch_em.model.UNet2d
    equal_to_the_registry(bioseg, "nuclei", network.state_dict(), tmp_path)
    image = grey_image(96, 128)
    expected = network.eval()(torch.from_numpy(standardised(image))[None, None])[0].numpy()
    np.testing.assert_allclose(bioseg.maps("nuclei", image), expected, **CLOSE)


def test_the_original_networks_outputs_come_back(bioseg, tmp_path):
    bioseg.export("golden", "pt", tmp_path / "best.pt")
    network = torch_em.util.load_model(str(tmp_path), device="cpu").eval()
    image, output = (np.load(GOLDEN / "small" / "unet_in" / f"{what}.npy") for what in ("input", "output"))
    np.testing.assert_allclose(network(torch.from_numpy(image)).numpy(), output, rtol=0, atol=1e-5)


def test_a_trainer_that_was_made_again_trains_on(bioseg, tmp_path):
    bioseg.export("golden", "pt", tmp_path / "best.pt")
    trainer = torch_em.util.get_trainer(str(tmp_path), device="cpu")
    image, target = (torch.from_numpy(np.load(GOLDEN / "small" / "unet_in" / f"{what}.npy")) for what in ("input", "target"))
    losses = []
    with torch.enable_grad():
        for _ in range(3):
            trainer.optimizer.zero_grad()
            loss = trainer.loss(trainer.model(image), target)
            loss.backward()
            trainer.optimizer.step()
            losses.append(loss.item())
    assert losses[2] < losses[0]


@pytest.mark.parametrize("model", ["nuclei", "mini-unetr", "mini-vimunet"])
def test_a_state_dict_loads_where_nothing_but_tensors_may_be_loaded(bioseg, tmp_path, model):
    state = torch.load(bioseg.export(model, "state-dict", tmp_path / "state.pt"), weights_only=True)
    assert type(state) is collections.OrderedDict
    equal_to_the_registry(bioseg, model, state, tmp_path)


@pytest.mark.parametrize("model", ["nuclei", "mini-unetr", "mini-vimunet"])
def test_a_trainers_checkpoint_names_only_what_tensors_are_made_of(bioseg, tmp_path, model):
    path = bioseg.export(model, "pt", tmp_path / "best.pt")
    with zipfile.ZipFile(path) as archive:
        names = {value for code, value, _ in pickletools.genops(archive.read("archive/data.pkl")) if code.name == "GLOBAL"}
    assert names <= {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "torch LongStorage"}
    checkpoint = torch.load(path)
    equal_to_the_registry(bioseg, model, checkpoint["model_state"], tmp_path)
    assert ("model_class" in checkpoint["init"]) == (model == "nuclei")


def unetr():
    """The network of make_formula_model's mini-unetr."""
    encoder = ViT_Sam(img_size=64, patch_size=16, in_chans=3, embed_dim=32, depth=2, num_heads=4, mlp_ratio=4, out_chans=256,
                      qkv_bias=True, norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True,
                      window_size=3, global_attn_indexes=[1])
    encoder.img_size = 64
    return torch_em.model.UNETR(img_size=64, encoder=encoder, embed_dim=32, out_channels=3, use_sam_stats=True, resize_input=True,
                                final_activation="Sigmoid", use_skip_connection=False, initial_features=4)


@pytest.mark.parametrize("form", ["pt", "state-dict"])
def test_a_unetr_that_the_reader_brings_gets_its_weights_from_either(bioseg, tmp_path, form):
    path = bioseg.export("mini-unetr", form, tmp_path / "weights.pt")
    network = torch_em.util.load_model(str(path), unetr(), state_key="model_state" if form == "pt" else None, device="cpu")
    image = grey_image(64, 64)
    image[0, 0], image[0, 1] = 0, 255  # so that range_255 changes nothing
    expected = network.eval()(torch.from_numpy(image.astype(np.float32))[None, None].repeat(1, 3, 1, 1))[0].numpy()
    np.testing.assert_allclose(bioseg.maps("mini-unetr", image), expected, **CLOSE)


@pytest.mark.parametrize("form", ["pt", "state-dict"])
@pytest.mark.parametrize("model", ["nuclei", "mini-unetr", "mini-vimunet"])
def test_our_own_reader_gets_the_same_bits(bioseg, tmp_path, model, form):
    path = bioseg.export(model, form, tmp_path / "exported.pt")
    bioseg.local("convert", path, "-o", tmp_path / "again.safetensors")
    again = safetensors(tmp_path / "again.safetensors")
    equal_to_the_registry(bioseg, model, {k: torch.from_numpy(v.copy()) for k, v in again.items()}, tmp_path)


def test_what_is_in_the_way_stays(bioseg, tmp_path):
    path = tmp_path / "there.pt"
    path.write_text("mine")
    assert "--overwrite" in bioseg.run("models", "export", "nuclei", "--format", "pt", "-o", path, code=2)
    assert path.read_text() == "mine"
    bioseg.run("models", "export", "nuclei", "--format", "pt", "-o", path, "--overwrite")
    assert path.stat().st_size > 7_000_000
    assert "none of" in bioseg.run("models", "export", "nuclei", "--format", "keras", "-o", tmp_path / "x", code=2)
    assert "nobody" in bioseg.run("models", "export", "nobody", "-o", tmp_path / "x", code=5)
    assert [p.name for p in tmp_path.iterdir()] == ["there.pt"]
