"""Encoders: their names, their features against the bare libraries, and what cannot be loaded."""

import sys

import numpy as np
import pytest
from st1k4m.baseline import encoder_names, encoders, pixels
from st1k4m.errors import ConfigError
from tiny_models import save_clip, save_timm, save_vit


@pytest.fixture(scope="module")
def tiles():
    """Forty tiles of 32 px: noise of several sizes and colours, so that no two are alike."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    fine = rng.integers(0, 60, (40, 32, 32, 3), dtype=np.uint8)
    return (coarse.repeat(8, 1).repeat(8, 2) // 2 + fine).astype(np.uint8)


@pytest.mark.parametrize(
    ("encoder", "folder"),
    [
        ("pixels", "pixels"),
        ("timm:resnet50.a1_in1k", "timm--resnet50.a1_in1k"),
        ("timm:hf-hub:MahmoodLab/UNI", "timm--hf-hub--MahmoodLab--UNI"),
        ("hf:vinid/plip@abc123", "hf--vinid--plip@abc123"),
        ("python:my.module:embed", "python--my.module--embed"),
    ],
)
def test_every_kind_of_name_has_a_folder(encoder, folder):
    assert encoder_names.folder_of(encoder) == folder


@pytest.mark.parametrize(
    "encoder", ["", "resnet50", "pixels:2", "timm:", "hf:", "python:m", "hf:a b"]
)
def test_a_wrong_name_says_what_there_is(encoder):
    with pytest.raises(ConfigError, match="expected one of pixels, timm:NAME"):
        encoder_names.folder_of(encoder)


def test_two_encoders_never_share_a_folder():
    with pytest.raises(ConfigError, match="would have the same folder hf--a--b"):
        encoder_names.folders_of(["hf:a/b", "hf:a:b"])


def test_pixels_are_the_statistics_that_they_say():
    rng = np.random.default_rng(1)
    tile = rng.integers(1, 256, (64, 64, 3), dtype=np.uint8)
    (found,) = pixels.embed(tile[None])
    assert found.shape == (pixels.DIMENSIONS,) and found.dtype == np.float32
    colours = found[:42].reshape(6, 7)
    for channel in range(3):
        values = tile[..., channel].ravel() / 255
        expected = [values.mean(), values.std()]
        expected += np.percentile(values, (5, 25, 50, 75, 95), method="nearest").tolist()
        np.testing.assert_allclose(colours[channel], expected, atol=2e-3)
    saturation = 1 - tile.min(axis=2) / tile.max(axis=2)
    np.testing.assert_allclose(colours[3, 0], saturation.mean(), atol=1e-5)
    density = -np.log10(tile.reshape(-1, 3) / 255)
    stains = pixels.STAINS / np.linalg.norm(pixels.STAINS, axis=1, keepdims=True)
    solved, *_ = np.linalg.lstsq(stains.T, density.T, rcond=None)
    np.testing.assert_allclose(colours[4:, 0], solved.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(colours[4:, 1], solved.std(axis=1), atol=1e-4)
    shares = [(solved[0] > level).mean() for level in pixels.NUCLEAR]
    np.testing.assert_allclose(found[42:45], shares, atol=1e-3)


def test_pixels_tell_flat_from_textured_and_do_not_depend_on_orientation():
    rng = np.random.default_rng(2)
    flat = np.full((48, 48, 3), 140, np.uint8)
    rough = rng.integers(100, 181, (48, 48, 3), dtype=np.uint8)
    found = pixels.embed(np.stack([flat, rough, rough[::-1], rough[:, ::-1]]))
    assert (found[0, 45:] == 0).all() and (found[1, 45:] > 0.005).all()
    np.testing.assert_allclose(found[1], found[2], atol=1e-4)
    np.testing.assert_allclose(found[1], found[3], atol=1e-4)


@pytest.mark.parametrize("side", [1, 5, 16, 64, 200])
def test_pixels_take_tiles_of_any_size_and_each_by_itself(side):
    rng = np.random.default_rng(3)
    batch = rng.integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    together = pixels.embed(batch)
    alone = np.concatenate([pixels.embed(batch[i : i + 1]) for i in range(5)])
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(together, alone)


def test_timm_gives_what_the_bare_model_gives(tmp_path, tiles):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from PIL import Image
    from torchvision.transforms import functional

    name, model = save_timm(tmp_path)
    encoder = encoders.load_encoder(name)
    assert encoder.side == 160 and "160 px (bicubic)" in encoder.transform
    pictures = [
        functional.normalize(
            functional.to_tensor(Image.fromarray(tile).resize((160, 160), Image.BICUBIC)),
            model.default_cfg["mean"],
            model.default_cfg["std"],
        )
        for tile in tiles
    ]
    with torch.inference_mode():
        expected = model(torch.stack(pictures)).numpy()
    found = encoder.embed(tiles)
    # PIL rounds to whole grey levels after resizing.
    np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max())
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("save", [save_clip, save_vit])
def test_transformers_gives_what_its_own_processor_and_model_give(tmp_path, tiles, save):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    name, model, processor = save(tmp_path)
    pictures = processor(images=list(tiles), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = model(pixel_values=pictures)
    expected = out.image_embeds if save is save_clip else out.last_hidden_state[:, 0]
    encoder = encoders.load_encoder(name)
    np.testing.assert_allclose(encoder.embed(tiles), expected.numpy(), atol=1e-5)
    assert encoder.embed(tiles[:0]).shape[0] == 0
    assert encoders.load_encoder(name).weights == encoder.weights


def test_features_are_the_same_on_any_number_of_cores_and_in_any_batch(tmp_path, tiles):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    encoder = encoders.load_encoder(save_timm(tmp_path)[0])
    cores = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = encoder.embed(tiles)
        torch.set_num_threads(2)
        two = encoder.embed(tiles)
    finally:
        torch.set_num_threads(cores)
    alone = np.concatenate([encoder.embed(tile[None]) for tile in tiles])
    np.testing.assert_allclose(one, two, atol=1e-5)
    np.testing.assert_allclose(one, alone, atol=1e-5)


def test_a_batch_that_does_not_fit_is_halved(tmp_path, tiles, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    encoder = encoders.load_encoder(save_timm(tmp_path)[0])
    expected = encoder.embed(tiles)
    prepare = encoders.prepare

    def scarce(batch, *rest):
        if len(batch) > 10:
            raise torch.OutOfMemoryError("out of memory")
        return prepare(batch, *rest)

    monkeypatch.setattr(encoders, "prepare", scarce)
    np.testing.assert_allclose(encoder.embed(tiles), expected, atol=1e-5)
    monkeypatch.setattr(encoders, "prepare", lambda *_: scarce(range(11)))
    with pytest.raises(torch.OutOfMemoryError):
        encoder.embed(tiles)


def test_the_hash_is_of_the_weights_and_nothing_else(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    first, model = save_timm(tmp_path / "a")
    again, _ = save_timm(tmp_path / "b")
    hashes = [encoders.load_encoder(name).weights for name in (first, again)]
    assert hashes[0] == hashes[1] == encoders.hash_weights(model)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    assert encoders.hash_weights(model) != hashes[0]


def test_a_function_of_the_users_is_an_encoder(tmp_path, tiles, monkeypatch):
    (tmp_path / "ours.py").write_text(
        "import numpy as np\n"
        "def mean(tiles):\n    return tiles.mean(axis=(1, 2))\n"
        "mean.side, mean.um_per_px = 224, 0.5\n"
        "def flat(tiles):\n    return np.zeros(len(tiles))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    encoder = encoders.load_encoder("python:ours:mean")
    np.testing.assert_allclose(encoder.embed(tiles), tiles.mean(axis=(1, 2)), rtol=1e-6)
    assert (encoder.side, encoder.um_per_px) == (224, 0.5)
    with pytest.raises(ConfigError, match=r"returned an array \(40,\) for 40 tiles"):
        encoders.load_encoder("python:ours:flat").embed(tiles)
    with pytest.raises(ConfigError, match="has no function other"):
        encoders.load_encoder("python:ours:other")
    before = encoder_names.identity_of("python:ours:mean")
    (tmp_path / "ours.py").write_text("def mean(tiles):\n    return tiles.std(axis=(1, 2))\n")
    assert encoder_names.identity_of("python:ours:mean") != before
    with pytest.raises(ConfigError, match="module nowhere_at_all is not found"):
        encoder_names.identity_of("python:nowhere_at_all:f")


@pytest.mark.parametrize("encoder", ["timm:no_such_model", "hf:./no/such/folder"])
def test_weights_that_are_not_there_are_one_sentence(encoder, monkeypatch):
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"cannot be loaded: .*\n  what to do: check the name"):
        encoders.load_encoder(encoder)


def test_a_library_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"needs the package timm; install the extra"):
        encoders.load_encoder("timm:resnet18")
