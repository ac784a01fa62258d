"""Read the results of a run: the tables, the slides, and pairs of tile and expression."""

import difflib
import importlib.util
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from st1k4m.training import expression as expressions
from st1k4m.training import origins
from st1k4m.training.pairs import Pairs
from st1k4m.training.stores import Store, find_store

if TYPE_CHECKING:
    from anndata import AnnData

    from st1k4m.formats.tile_store import TileStore

log = logging.getLogger(__name__)

ARRAYS = ("torch", "numpy")

_COLUMNS = ("slide", "tech", "species", "tissue", "study", "spots")
_NUMBERS = ("spots", "genes", "um_per_px")
_REMAKE = "run the workflow again with this version"


class Collection:
    """The results of the workflow over all slides.

    Making one reads one table. Files of slides are opened when they are used.

    Parameters
    ----------
    results
        The ``results`` folder of a run.

    Attributes
    ----------
    slides : pandas.DataFrame
        ``collection/slides.tsv``, one row per slide. Unknown texts are empty, unknown numbers NaN.

    Raises
    ------
    ValueError
        The folder has no collection, or a collection of another version.
    """

    def __init__(self, results: str | Path) -> None:
        self.results = Path(results)
        self._folder = self.results / "collection"
        path = self._folder / "slides.tsv"
        if not path.is_file():
            raise ValueError(
                f"{path} does not exist: give the results folder of a run of the workflow that "
                "ended without failed slides"
            )
        self.slides = _read_table(path, _COLUMNS)

    def __repr__(self) -> str:
        return f"Collection({str(self.results)!r}): {len(self.slides):,} slides"

    @property
    def splits(self) -> list[str]:
        """Names of the splits."""
        return self._names("splits")

    @property
    def panels(self) -> list[str]:
        """Names of the panels."""
        return self._names("panels")

    def split(self, name: str) -> pd.DataFrame:
        """Read a split: ``slide``, ``part``, ``group``, all texts.

        Raises
        ------
        ValueError
            The split does not exist; the message lists the existing ones.
        """
        path = self._path("splits", "split", name)
        return _read_table(path, ("slide", "part"))

    def panel(self, name: str) -> pd.DataFrame:
        """Read a panel: ``rank``, ``gene``, ``slides`` and how each gene was chosen.

        Raises
        ------
        ValueError
            The panel does not exist; the message lists the existing ones.
        """
        return _read_table(self._path("panels", "panel", name), ("rank", "gene"))

    def panel_slides(self, name: str) -> list[str]:
        """Return the slides of a panel. Raises the errors of `panel`."""
        path = self._path("panels", "panel", name)
        return expressions.read_panel_slides(path.with_suffix(".h5ad"))

    def anndata(self, slide: str) -> "AnnData":
        """Read the AnnData of a slide.

        Raises
        ------
        ValueError
            The collection does not have the slide.
        """
        import anndata

        return anndata.read_h5ad(self._file(slide, "anndata", ".h5ad"))

    def tiles(self, slide: str) -> "TileStore":
        """Open the tile store of a slide.

        Raises
        ------
        ValueError
            The collection does not have the slide.
        """
        from st1k4m.formats.tile_store import TileStore

        return TileStore(self._file(slide, "tiles", ".h5"))

    def pairs(
        self,
        split: str | None = None,
        part: str | int | Iterable[str | int] | None = None,
        panel: str | None = None,
        size: int | None = None,
        *,
        slides: Iterable[str] | None = None,
        target: str | None = "log1p",
        over: str = "all",
        labels: bool = False,
        transform: Callable[[Any], Any] | None = None,
        max_open: int = 128,
        arrays: str | None = None,
    ) -> Pairs:
        """Make the pairs of tile and expression of some slides.

        Parameters
        ----------
        split, part
            The slides of these parts of a split. Without a split: all slides.
        panel
            Genes of the expression, and only the slides of the panel. Without a panel: all genes
            of one slide.
        size
            Side in pixels to which tiles are resized (by area if this is smaller, else cubic).
            Without it tiles are as in the stores, which must then all have the same size.
        slides
            Only these slides; the panel must have each of them.
        target
            ``log1p``: ``expression``, log1p of normalised counts; ``counts``: ``counts``, as
            measured; ``both``; None: tiles alone.
        over
            Genes over which counts are normalised: ``all`` genes of the slide, as in ``X`` of the
            AnnData, or the ``panel``, as in ``X`` of its file.
        labels
            Whether pairs have a ``label``, from the pathologists' annotation.
        transform
            Called with each tile, (3, size, size) uint8. An example is a transform of
            torchvision.transforms.v2.
        max_open
            Largest number of open files, in each process.
        arrays
            ``torch`` (a ``torch.utils.data.Dataset`` of tensors) or ``numpy``. The default is
            torch if it is installed.

        Raises
        ------
        ValueError
            A requested split, part, panel or slide does not exist, or options do not fit together.
            The message lists the existing ones.
        SlideError
            A file of a slide is missing, or was made by another version or another run.
        """
        chosen = self._choose(split, part, slides)
        _check_choice("target", target, (*expressions.TARGETS, None))
        _check_choice("over", over, expressions.OVER)
        make = _class_of_pairs(arrays)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"size must be a whole number of pixels or None, not {size!r}")
        if isinstance(max_open, bool) or not isinstance(max_open, int) or max_open < 1:
            raise ValueError(f"max_open must be at least 1, not {max_open!r}")
        found = self._panel_file(panel, over, target, chosen)
        if panel is not None and slides is None:
            chosen = self._members(panel, chosen)
        stores = [find_store(self._product(slide, "tiles", ".h5"), slide) for slide in chosen]
        _check_tiles(stores, size)
        self._check_origins(stores, found, target is not None or labels)
        return make(
            stores,
            self._studies(chosen),
            expression=self._read_expression(found, stores, target, over),
            target=target or "",
            size=size,
            labels=self._read_labels(stores) if labels else None,
            transform=transform,
            max_open=max_open,
        )

    def _choose(
        self,
        split: str | None,
        part: str | int | Iterable[str | int] | None,
        slides: Iterable[str] | None,
    ) -> list[str]:
        """Return the requested slides, in the order of the collection."""
        known = self.slides["slide"].tolist()
        chosen = set(known)
        if split is None and part is not None:
            raise ValueError(f"part {part!r} needs a split; {_offer('split', self.splits)}")
        if split is not None:
            chosen = self._slides_of_parts(split, part)
            missing = sorted(chosen - set(known))
            if missing:
                raise ValueError(
                    f"split {split} has slide {missing[0]}, which the collection does not have: "
                    "results of different runs are mixed; run the workflow again"
                )
        if slides is not None:
            wanted = [slides] if isinstance(slides, str) else list(slides)
            for slide in wanted:
                self._check_slide(slide)
            chosen &= set(wanted)
        if not chosen:
            where = f" of split {split}, part {part}" if split is not None else ""
            raise ValueError(f"no slide is left{where}; choose other parts or slides")
        return [slide for slide in known if slide in chosen]

    def _slides_of_parts(
        self, split: str, part: str | int | Iterable[str | int] | None
    ) -> set[str]:
        table = self.split(split)
        parts = sorted(set(table["part"]))
        if part is None:
            raise ValueError(f"split {split} needs a part; it has {', '.join(parts)}")
        wanted = [part] if isinstance(part, str | int) else list(part)
        for name in wanted:
            if str(name) not in parts:
                raise ValueError(f"split {split} has no part {name!r}; it has {', '.join(parts)}")
        return set(table["slide"][table["part"].isin([str(name) for name in wanted])])

    def _panel_file(
        self, panel: str | None, over: str, target: str | None, slides: list[str]
    ) -> Path | None:
        if panel is not None:
            return self._path("panels", "panel", panel).with_suffix(".h5ad")
        if target is None:
            return None
        if over == "panel":
            raise ValueError(f"over='panel' needs a panel; {_offer('panel', self.panels)}")
        if len(slides) > 1:
            raise ValueError(
                f"{len(slides):,} slides have different genes: give a panel, one slide, or "
                f"target=None for tiles alone; {_offer('panel', self.panels)}"
            )
        return None

    def _members(self, panel: str, chosen: list[str]) -> list[str]:
        """Return the chosen slides that the panel has."""
        members = set(self.panel_slides(panel))
        own = [slide for slide in chosen if slide in members]
        if not own:
            raise ValueError(
                f"panel {panel} has none of the {len(chosen):,} slides chosen; it has "
                f"{len(members):,}, see panel_slides({panel!r})"
            )
        if len(own) < len(chosen):
            log.info("panel %s has %d of %d slides", panel, len(own), len(chosen))
        return own

    def _check_origins(self, stores: Sequence[Store], panel: Path | None, anndata: bool) -> None:
        """Refuse files of another version, and files that were not made from each other."""
        digests = {}
        for store in stores:
            path = self._product(store.slide, "anndata", ".h5ad") if anndata else None
            digests[store.slide] = origins.check_slide(store.slide, store.path, path)
        if panel is not None and anndata:
            origins.check_panel(
                panel,
                (
                    (
                        slide,
                        digests.get(slide)
                        or origins.digest(self._product(slide, "anndata", ".h5ad")),
                    )
                    for slide in self.panel_slides(panel.stem)
                ),
            )

    def _read_expression(
        self, panel: Path | None, stores: Sequence[Store], target: str | None, over: str
    ) -> expressions.Expression | None:
        if target is None:
            return None
        if panel is not None:
            return expressions.read_panel(panel, stores, target, over)
        path = self._product(stores[0].slide, "anndata", ".h5ad")
        return expressions.read_slide(path, stores[0], target)

    def _read_labels(self, stores: Sequence[Store]) -> list[str]:
        labels = []
        for store in stores:
            path = self._product(store.slide, "anndata", ".h5ad")
            labels += expressions.read_labels(path, store)
        return labels

    def _studies(self, slides: list[str]) -> list[str]:
        return self.slides.set_index("slide")["study"].loc[slides].tolist()

    def _check_slide(self, slide: str) -> None:
        known = self.slides["slide"]
        if slide not in set(known):
            raise ValueError(f"no slide {slide!r}; {_offer('slide', known.tolist(), slide)}")

    def _file(self, slide: str, folder: str, suffix: str) -> Path:
        self._check_slide(slide)
        return self._product(slide, folder, suffix)

    def _product(self, slide: str, folder: str, suffix: str) -> Path:
        return self.results / folder / f"{slide}{suffix}"

    def _names(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self._folder / folder).glob("*.tsv"))

    def _path(self, folder: str, kind: str, name: str) -> Path:
        names = self._names(folder)
        if name not in names:
            raise ValueError(f"no {kind} {name!r}; {_offer(kind, names, name)}")
        return self._folder / folder / f"{name}.tsv"


def _class_of_pairs(arrays: str | None) -> type[Pairs]:
    _check_choice("arrays", arrays, (*ARRAYS, None))
    installed = importlib.util.find_spec("torch") is not None
    if arrays == "torch" and not installed:
        raise ValueError("arrays='torch' needs PyTorch: pip install torch, or give arrays='numpy'")
    if arrays == "numpy" or not installed:
        return Pairs
    from st1k4m.training.tensors import TensorPairs

    return TensorPairs


def _check_tiles(stores: Sequence[Store], size: int | None) -> None:
    sides: dict[int, str] = {}
    for store in stores:
        if store.tiles:
            sides.setdefault(store.side, store.slide)
    if not sides:
        raise ValueError(f"none of the {len(stores):,} slides has a tile")
    if size is None and len(sides) > 1:
        shown = ", ".join(f"{side} px ({slide})" for side, slide in sorted(sides.items())[:3])
        raise ValueError(f"tiles have {len(sides)} sizes: {shown}; give size, such as size=224")


def _check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {', '.join(map(repr, choices))}, not {value!r}")


def _offer(kind: str, names: list[str], name: str = "") -> str:
    """Return a sentence that lists the names; of many names, only those similar to ``name``."""
    if not names:
        return f"the results have no {kind}: add one to the configuration and run the workflow"
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5) if name else []
    if len(names) <= 10:
        return f"known are {', '.join(names)}"
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"{len(names):,} are known, such as {', '.join(names[:3])}"


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table of the collection; comment lines may precede the header."""
    with open(path, encoding="utf-8") as file:
        comments = 0
        while file.readline().startswith("#"):
            comments += 1
    try:
        table = pd.read_csv(
            path, sep="\t", skiprows=comments, dtype=str, keep_default_na=False, quoting=3
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {_REMAKE}") from None
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise ValueError(f"{path} has no column {', '.join(lacking)}; {_REMAKE}")
    for name in _NUMBERS:
        if name in table:
            table[name] = pd.to_numeric(table[name], errors="coerce")
    return table
