"""Read and check the options of baselines: the configuration's section ``baselines``.

Standard library only, because Snakemake imports it at parse time.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from st1k4m.baseline.encoder_names import PIXELS, folders_of
from st1k4m.errors import ConfigError

#: Tasks with which an encoder is measured; ``ridge`` is always included.
TASKS = ("ridge", "probe", "clusters")


@dataclass(frozen=True)
class ContrastiveOptions:
    """The recipe of the contrastive training; the defaults are the authors'.

    Attributes
    ----------
    image
        A ``timm:`` or ``hf:`` encoder, which is trained further.
    dimensions
        Dimensions of the joint space of tiles and expression.
    batch, epochs
        Pairs per step, and passes over the training pairs.
    learning_rate, weight_decay
        Options of Adam.
    checkpoint_steps
        Steps between two checkpoints.
    seed
        Seed of the new layers' weights and of the order of the pairs.
    """

    image: str = "hf:openai/clip-vit-base-patch32"
    dimensions: int = 32
    batch: int = 1024
    epochs: int = 15
    learning_rate: float = 5e-5
    weight_decay: float = 0.2
    checkpoint_steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.image.startswith(("timm:", "hf:")):
            raise ConfigError(
                f"contrastive.image: {self.image!r} has no weights to train; "
                "use timm:NAME or hf:OWNER/NAME"
            )


@dataclass(frozen=True)
class BaselineOptions:
    """The options of one baseline.

    Attributes
    ----------
    split, panel
        Names under ``splits`` and ``panels``. The panel gives the slides and the method; the genes
        are chosen in each fold from its training slides.
    encoders
        As configured, with `pixels` as the first one.
    tasks
        Some of `TASKS`.
    hest_genes
        Number of genes of the protocol ``hest``.
    max_spots
        Largest number of spots of a slide, drawn at random; None for all.
    bootstrap
        Number of draws of groups for an interval.
    seed
        Seed of every draw.
    contrastive
        The contrastive recipe; None to leave it out.
    train
        Parts of the split on which the contrastive model trains: the parts from which the panel was
        chosen.
    """

    split: str
    panel: str
    encoders: tuple[str, ...] = (PIXELS,)
    tasks: tuple[str, ...] = ("ridge",)
    hest_genes: int = 50
    max_spots: int | None = None
    bootstrap: int = 1000
    seed: int = 0
    contrastive: ContrastiveOptions | None = None
    train: tuple[str, ...] = ()

    @property
    def folders(self) -> dict[str, str]:
        """The encoders by the folder of their features."""
        return folders_of(list(self.encoders))

    def as_dict(self) -> dict:
        """Return the options as plain values."""
        return asdict(self) | {
            name: list(getattr(self, name)) for name in ("encoders", "tasks", "train")
        }


def read_baselines(
    baselines: Mapping[str, Mapping], splits: Mapping, panels: Mapping[str, Mapping]
) -> dict[str, BaselineOptions]:
    """Read and check the options of every baseline.

    Parameters
    ----------
    baselines
        The section, by name; the schema has checked keys and types.
    splits, panels
        The sections to which baselines refer.

    Raises
    ------
    ConfigError
        A split or panel is not configured, an encoder is not of a known kind, or the panel of a
        contrastive training was not chosen from some parts of the split; one message lists all
        faults.
    """
    found, faults = {}, []
    for name, section in baselines.items():
        try:
            found[name] = _read(section, splits, panels)
            found[name].folders  # noqa: B018  raises if two encoders have the same folder
        except ConfigError as error:
            faults += [f"baselines.{name}.{line}" for line in str(error).splitlines()]
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def _read(section: Mapping, splits: Mapping, panels: Mapping[str, Mapping]) -> BaselineOptions:
    for key, known in (("split", splits), ("panel", panels)):
        if section[key] not in known:
            there = ", ".join(known) or "none"
            raise ConfigError(f"{key}: {section[key]!r} is not under {key}s, which has {there}")
    encoders = [PIXELS, *(name for name in section.get("encoders", ()) if name != PIXELS)]
    tasks = [task for task in TASKS if task == "ridge" or task in section.get("tasks", ())]
    given = {
        key: section[key]
        for key in ("hest_genes", "max_spots", "bootstrap", "seed")
        if key in section
    }
    contrastive, train = None, ()
    if section.get("contrastive") is not None:
        contrastive = ContrastiveOptions(**section["contrastive"])
        chosen = panels[section["panel"]].get("train") or {}
        train = tuple(str(part) for part in chosen.get("part", ()))
        if chosen.get("split") != section["split"] or not train:
            raise ConfigError(
                f"contrastive: panel {section['panel']} must be chosen from the training parts of "
                f"the split; give it train: {{split: {section['split']}, part: [...]}}"
            )
    return BaselineOptions(
        section["split"],
        section["panel"],
        tuple(encoders),
        tuple(tasks),
        **given,
        contrastive=contrastive,
        train=train,
    )
