"""Train a joint embedding of tiles and expression, as the dataset's authors do.

It is their recipe (notes 05 and 06, model_st.py of commit 856ea13) with a split: the model is
trained on some parts of the split, and measured on slides of the other parts.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from st1k4m.baseline.encoders import ImageModel, hash_weights, load_model, prepare
from st1k4m.baseline.numbers import versions, write_json
from st1k4m.baseline.options import ContrastiveOptions
from st1k4m.errors import ConfigError
from st1k4m.run.outputs import atomic

log = logging.getLogger(__name__)

RANKS = (1, 5, 10, 50)
#: Largest number of spots of a slide among which a tile's own expression is searched.
POOL = 1000
#: Logarithm of the initial scale of similarities: 1 / 0.07, as in CLIP.
LOGIT_SCALE = float(np.log(1 / 0.07))


def train_contrastive(
    results: str | Path,
    checkpoint: str | Path,
    scores: str | Path,
    *,
    split: str,
    panel: str,
    slides: list[str],
    train: list[str],
    options: ContrastiveOptions,
    threads: int = 1,
) -> None:
    """Train on some parts of a split and measure retrieval on the others.

    Parameters
    ----------
    results
        The folder of products.
    checkpoint
        File of the training's state; after a killed run the training resumes from it. A checkpoint
        of another recipe or of other pairs is not used.
    scores
        JSON: by held-out slide, the fraction of tiles whose own expression is among the nearest 1,
        5, ... of at most `POOL` spots, and the fraction that is expected by chance.
    split, panel
        Names in the collection. The panel must be chosen without the held-out parts.
    slides
        The slides that the panel selects.
    train
        Training parts of the split; all other parts are held out.
    options
        The recipe.
    threads
        Cores to use on a CPU.

    Raises
    ------
    ConfigError
        The image encoder cannot be loaded; no slide to train on, or none to measure on.
    """
    import torch

    from st1k4m.training.collection import Collection

    torch.set_num_threads(threads)
    collection = Collection(results)
    image = load_model(options.image)
    known, wanted = collection.split(split).set_index("slide"), set(slides)
    in_training = known["part"].isin(train)
    trained, tested = (
        [slide for slide in known.index[which] if slide in wanted]
        for which in (in_training, ~in_training)
    )
    for what, found in (("training", trained), ("held-out", tested)):
        if not found:
            raise ConfigError(
                f"the {what} parts of split {split} have none of the {len(wanted)} slides of panel "
                f"{panel}; set the panel's train to some parts of the split, but not to all parts"
            )
    pairs = collection.pairs(slides=trained, panel=panel, size=image.side, over="panel")
    identity = {
        "recipe": asdict(options),
        "image_weights": hash_weights(image.module),
        "split": split,
        "panel": panel,
        "train": trained,
        "pairs": len(pairs),
    }
    model, losses = fit(pairs, image, options, checkpoint, identity)
    tissue = collection.slides.set_index("slide")["tissue"]
    measured = {
        slide: {
            "group": str(known.at[slide, "group"]),
            "tissue": str(tissue[slide]),
            **measure_retrieval(
                model,
                collection.pairs(slides=[slide], panel=panel, size=image.side, over="panel"),
                options,
            ),
        }
        for slide in tested
    }
    write_json(
        scores,
        identity
        | {"encoder": f"contrastive {options.image}", "held_out": tested, "losses": losses}
        | {"weights": hash_weights(model), "slides": measured, "versions": versions()},
    )


def make_model(image: ImageModel, genes: int, options: ContrastiveOptions) -> Any:
    """Return the two towers as a PyTorch module.

    Its call takes tiles ``(n, 3, h, w)`` uint8 and expression ``(n, genes)`` float32, and returns
    both in the shared space, ``(n, dimensions)`` each of length 1; ``logit_scale`` is learned.
    """
    import torch

    class Towers(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image = image.module
            with torch.no_grad():
                width = self.image(torch.zeros(1, 3, image.side, image.side)).shape[1]
            self.tile_head = torch.nn.Linear(width, options.dimensions)
            self.gene_head = torch.nn.Linear(genes, options.dimensions)
            torch.nn.init.xavier_uniform_(self.gene_head.weight)
            self.logit_scale = torch.nn.Parameter(torch.tensor(LOGIT_SCALE))

        def forward(self, tiles, expression):
            device = self.logit_scale.device
            pictures = prepare(np.asarray(tiles).transpose(0, 2, 3, 1), image, device)
            expression = torch.as_tensor(np.asarray(expression), device=device)
            normalise = torch.nn.functional.normalize
            return (
                normalise(self.tile_head(self.image(pictures)), dim=1),
                normalise(self.gene_head(expression), dim=1),
            )

    torch.manual_seed(options.seed)
    return Towers().to("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    pairs: Any,
    image: ImageModel,
    options: ContrastiveOptions,
    checkpoint: str | Path,
    identity: dict,
    after_step: Callable[[int], None] = lambda step: None,
) -> tuple[Any, list[float]]:
    """Train the towers; resume from the checkpoint if it is of the same training.

    Parameters
    ----------
    pairs
        The training pairs, from `Collection.pairs`.
    image
        The image tower.
    options
        The recipe.
    checkpoint
        File of the training's state.
    identity
        Values that identify the training: with other values a checkpoint is not used.
    after_step
        Called with the number of steps done.

    Returns
    -------
    Towers
        See `make_model`, in evaluation mode.
    list of float
        The mean loss of each epoch.
    """
    import torch

    model = make_model(image, len(pairs[0]["expression"]), options)
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=options.learning_rate,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=options.weight_decay,
    )
    loader = pairs.loader(
        batch_size=min(options.batch, len(pairs)), shuffle=True, seed=options.seed
    )
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    step, losses = 0, [[] for _ in range(options.epochs)]
    state = _read_checkpoint(checkpoint, digest)
    if state:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        loader.load_state_dict(state["loader"])
        torch.set_rng_state(state["random"])
        step, losses = state["step"], state["losses"]
        log.info("resuming after step %d, in epoch %d", step, loader.epoch)

    def keep() -> None:
        state = {
            "digest": digest,
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "loader": loader.state_dict(),
            "random": torch.get_rng_state(),
            "step": step,
            "losses": losses,
        }
        with atomic(checkpoint) as temporary:
            torch.save(state, temporary)

    model.train()
    while (epoch := loader.epoch) < options.epochs:
        for batch in loader:
            loss = contrast(model, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[epoch].append(float(loss.detach()))
            step += 1
            if step % options.checkpoint_steps == 0:
                keep()
            after_step(step)
        log.info("epoch %d: mean loss %.4f", epoch, np.mean(losses[epoch]))
        keep()
    return model.train(False), [float(np.mean(values)) for values in losses]


def contrast(model: Any, batch: dict) -> Any:
    """Return the symmetric cross-entropy of a batch: tile to expression and expression to tile.

    Genes that were not measured are set to 0, so they add nothing to the linear layer.
    """
    import torch

    tiles, genes = model(batch["tile"], fill_absent(batch))
    scores = model.logit_scale.exp() * tiles @ genes.T
    own = torch.arange(len(scores), device=scores.device)
    entropy = torch.nn.functional.cross_entropy
    return (entropy(scores, own) + entropy(scores.T, own)) / 2


def fill_absent(batch: dict) -> np.ndarray:
    """Return the expression of a batch, float32, with 0 where the slide does not have the gene."""
    expression = np.asarray(batch["expression"], np.float32)
    return np.where(np.asarray(batch["present"]), expression, np.float32(0))


def measure_retrieval(model: Any, pairs: Any, options: ContrastiveOptions) -> dict:
    """Search the expression of each tile among the expression of the slide's spots.

    Returns
    -------
    dict
        ``spots``: number of spots searched; by rank ``recall`` and ``chance``.
    """
    import torch

    rng = np.random.default_rng(options.seed)
    chosen = np.arange(len(pairs))
    if len(chosen) > POOL:
        chosen = np.sort(rng.choice(chosen, POOL, replace=False))
    tiles, genes = [], []
    with torch.inference_mode():
        for start in range(0, len(chosen), 64):
            batch = pairs[chosen[start : start + 64].tolist()]
            one, other = model(batch["tile"], fill_absent(batch))
            tiles.append(one.cpu().numpy())
            genes.append(other.cpu().numpy())
    recall = find_recall(np.concatenate(tiles), np.concatenate(genes))
    return {
        "spots": len(chosen),
        "recall": recall,
        "chance": {rank: min(rank / len(chosen), 1.0) for rank in RANKS},
    }


def find_recall(tiles: np.ndarray, genes: np.ndarray) -> dict[int, float]:
    """Return the fraction of tiles whose own expression is among the nearest, by rank.

    Parameters
    ----------
    tiles, genes
        ``(n, d)``; row ``i`` of both is the same spot.

    Returns
    -------
    dict
        A fraction for each of `RANKS`. Among equal similarities the own expression counts as the
        last, so a model with the same output for every spot finds nothing.
    """
    similar = tiles @ genes.T
    own = np.diagonal(similar)[:, None]
    before = (similar >= own).sum(axis=1) - 1
    return {rank: float((before < rank).mean()) for rank in RANKS}


def _read_checkpoint(path: str | Path, digest: str) -> dict | None:
    import torch

    if not Path(path).exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["digest"] != digest:
        log.info("%s is of another recipe, encoder or set of pairs: training starts again", path)
        return None
    return state
