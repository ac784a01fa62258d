"""Load an encoder, which computes features of tiles, by its name.

timm and transformers load the weights with their own caches. So their settings work here too:
``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_TOKEN`` for gated models, a folder instead of a name.
"""

import hashlib
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from st1k4m.baseline import pixels
from st1k4m.baseline.encoder_names import folder_of, identity_of
from st1k4m.errors import ConfigError

log = logging.getLogger(__name__)

#: Pathology models, by a part of their names. In HEST's benchmark they get tiles of 224 px at
#: 0.5 um/px: 112 um.
PATHOLOGY = (
    *("mahmoodlab/uni", "mahmoodlab/conch", "paige-ai/virchow", "prov-gigapath", "h-optimus"),
    *("h0-mini", "owkin/phikon", "ctranspath"),
)
PATHOLOGY_UM_PER_PX = 0.5
#: Tiles per batch at first; it is halved when the memory is not sufficient.
GPU_BATCH, CPU_BATCH = 512, 32


@dataclass(frozen=True)
class Encoder:
    """A function from tiles to features, with its properties.

    Attributes
    ----------
    name
        As configured.
    embed
        Takes ``(n, h, w, 3)`` uint8 RGB, returns ``(n, d)`` float32; a tile's features do not
        depend on the other tiles of the batch.
    weights
        sha256 of the weights, ``none`` if there are no weights.
    transform
        The preprocessing of a tile, in words.
    side
        Side in pixels of the model's input; None for any size.
    um_per_px
        Micrometres per pixel that it expects; None if unknown.
    batch
        Tiles per batch at first.
    """

    name: str
    embed: Callable[[np.ndarray], np.ndarray]
    weights: str
    transform: str
    side: int | None = None
    um_per_px: float | None = None
    batch: int = 256


@dataclass(frozen=True)
class ImageModel:
    """A PyTorch model with the size and normalisation of its input.

    Attributes
    ----------
    module
        Takes ``(n, 3, side, side)`` float32, normalised; returns ``(n, dimensions)``.
    side
        Side in pixels of the input.
    mean, std
        Mean and standard deviation of red, green and blue, in 0 to 1.
    interpolation
        ``bicubic``, ``bilinear`` or ``nearest``.
    """

    module: Any
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    @property
    def transform(self) -> str:
        """The preprocessing of a tile, in words."""
        mean, std = (",".join(f"{value:.6g}" for value in part) for part in (self.mean, self.std))
        return f"resized to {self.side} px ({self.interpolation}); mean {mean}; deviation {std}"


def load_encoder(name: str) -> Encoder:
    """Load an encoder.

    Parameters
    ----------
    name
        ``pixels``, ``timm:NAME``, ``hf:OWNER/NAME`` (optionally with ``@REVISION``) or
        ``python:module:function``. A function takes ``(n, h, w, 3)`` uint8 and returns ``(n, d)``;
        it may have the attributes ``weights``, ``transform``, ``side`` and ``um_per_px``.

    Raises
    ------
    ConfigError
        The name is not of one of these kinds, its library is not installed, or its weights are not
        in the cache and cannot be downloaded.
    """
    folder_of(name)
    kind, _, rest = name.partition(":")
    if kind == "pixels":
        return Encoder(name, pixels.embed, "none", pixels.TRANSFORM, batch=512)
    if kind == "python":
        return _load_function(name, *rest.split(":"))
    model = load_model(name)
    module, device = _place(model.module)
    pathology = any(part in name.lower() for part in PATHOLOGY)
    return Encoder(
        name,
        _Embedding(replace(model, module=module), device),
        hash_weights(model.module),
        model.transform,
        model.side,
        PATHOLOGY_UM_PER_PX if pathology else None,
        GPU_BATCH if device == "cuda" else CPU_BATCH,
    )


def load_model(name: str) -> ImageModel:
    """Load the image model of a ``timm:`` or ``hf:`` encoder, in evaluation mode, on the CPU.

    Raises
    ------
    ConfigError
        See `load_encoder`.
    """
    kind, _, rest = name.partition(":")
    load = {"timm": _load_timm, "hf": _load_hf}.get(kind)
    if load is None:
        raise ConfigError(f"encoder {name!r} is not a model with weights; use timm:NAME or hf:NAME")
    try:
        return load(rest)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"encoder {name!r} needs the package {error.name}; "
            "install the extra in the clone: pip install '.[baseline]'"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"encoder {name!r} cannot be loaded: {reason}\n"
            "  what to do: check the name; run once with a network to download it (a gated model "
            "also needs HF_TOKEN), or give a folder that contains the model"
        ) from error


def hash_weights(module: Any) -> str:
    """Return the sha256 over names, types, shapes and values of a PyTorch module's weights."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        value = value.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(_bytes()).numpy().data)
    return digest.hexdigest()


def _bytes():
    import torch

    return torch.uint8


def _load_function(name: str, module: str, function: str) -> Encoder:
    identity = identity_of(name)
    loaded = importlib.import_module(module)
    embed = getattr(loaded, function, None)
    if not callable(embed):
        raise ConfigError(f"encoder {name!r}: {loaded.__file__} has no function {function}")

    def checked(tiles: np.ndarray) -> np.ndarray:
        features = np.asarray(embed(tiles), np.float32)
        if features.ndim != 2 or len(features) != len(tiles):
            raise ConfigError(
                f"encoder {name!r} returned an array {features.shape} for {len(tiles)} tiles; "
                f"expected ({len(tiles)}, d)"
            )
        return features

    return Encoder(
        name,
        checked,
        getattr(embed, "weights", identity.rpartition("sha256:")[2]),
        getattr(embed, "transform", "its own"),
        getattr(embed, "side", None),
        getattr(embed, "um_per_px", None),
    )


def _load_timm(name: str) -> ImageModel:
    import timm
    from timm.data import resolve_model_data_config

    module = timm.create_model(name, pretrained=True, num_classes=0).train(False)
    data = resolve_model_data_config(module)
    return ImageModel(
        module,
        data["input_size"][-1],
        tuple(data["mean"]),
        tuple(data["std"]),
        data["interpolation"] if data["interpolation"] in ("bilinear", "nearest") else "bicubic",
    )


def _load_hf(name: str) -> ImageModel:
    import transformers

    name, _, revision = name.partition("@")
    revision = revision or "main"
    config = transformers.AutoConfig.from_pretrained(name, revision=revision)
    image = transformers.AutoImageProcessor.from_pretrained(name, revision=revision)
    clip = config.model_type in ("clip", "clip_vision_model")
    kind = transformers.CLIPVisionModelWithProjection if clip else transformers.AutoModel
    tower, loading = kind.from_pretrained(name, revision=revision, output_loading_info=True)
    # Weights that are missing in the file are random: a pooler that was not saved is not used.
    lacking = sorted(key for key in loading["missing_keys"] if "pooler" not in key)
    if lacking:
        raise ValueError(f"its files lack {len(lacking)} weights, for example {lacking[0]}")
    weights = tower.state_dict()
    for key in loading["missing_keys"]:
        weights[key].zero_()  # makes the hash reproducible
    read = "image_embeds" if clip else None if loading["missing_keys"] else "pooler_output"
    size = getattr(image, "crop_size", None) or image.size
    side = size.get("height") or size["shortest_edge"]
    return ImageModel(
        _pooled(tower.train(False), read),
        side,
        tuple(image.image_mean),
        tuple(image.image_std),
        "bicubic",
    )


def _pooled(tower: Any, read: str | None) -> Any:
    """Wrap a transformers model: one vector per image, output ``read`` or the first token."""
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, pictures):
            found = self.tower(pixel_values=pictures)
            vector = getattr(found, read) if read else found.last_hidden_state[:, 0]
            return vector.flatten(1)

    return Pooled()


def _place(module: Any) -> tuple[Any, str]:
    """Move a model to the GPU if there is one, with channels last; freeze its weights."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for weight in module.parameters():
        weight.requires_grad_(False)
    return module.to(device, memory_format=torch.channels_last), device


def prepare(tiles: np.ndarray, model: ImageModel, device: str) -> Any:
    """Return tiles as the input of a model.

    Parameters
    ----------
    tiles
        ``(n, h, w, 3)`` uint8 RGB.
    model
        Its side, interpolation, mean and deviation are used.
    device
        Device of PyTorch.

    Returns
    -------
    torch.Tensor
        ``(n, 3, side, side)`` float32. The whole tile is resized and not cropped, because its edge
        also belongs to the spot.
    """
    import torch

    pictures = torch.from_numpy(tiles).to(device)
    if pictures.shape[1:3] != (model.side, model.side):
        smooth = model.interpolation != "nearest"
        planes = pictures.permute(0, 3, 1, 2).float()
        planes = torch.nn.functional.interpolate(
            planes, (model.side, model.side), mode=model.interpolation, antialias=smooth
        )
        pictures = planes.clamp_(0, 255).permute(0, 2, 3, 1)
    # Row by row, with the colours' factors repeated along a row: five times as fast as one factor
    # for each of three planes, which matters for a small model.
    rows = pictures.reshape(len(pictures), model.side, -1).float()
    scale = [1 / (255 * deviation) for deviation in model.std] * model.side
    shift = [-mean / std for mean, std in zip(model.mean, model.std, strict=True)] * model.side
    rows.mul_(torch.tensor(scale, device=device)).add_(torch.tensor(shift, device=device))
    return rows.view(len(pictures), model.side, model.side, 3).permute(0, 3, 1, 2)


class _Embedding:
    """The forward pass over batches that are as large as the memory allows."""

    def __init__(self, model: ImageModel, device: str) -> None:
        self._model, self._device = model, device
        self._batch = GPU_BATCH if device == "cuda" else CPU_BATCH

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        import torch

        found: list[np.ndarray] = []
        start = 0
        while start < len(tiles):
            try:
                with torch.inference_mode():
                    pictures = prepare(
                        tiles[start : start + self._batch], self._model, self._device
                    )
                    found.append(self._model.module(pictures).float().cpu().numpy())
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                torch.cuda.empty_cache()
                log.info("the GPU has too little memory; %d tiles per batch from now", self._batch)
                continue
            start += len(found[-1])
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)
