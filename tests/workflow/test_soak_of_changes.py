"""After kills, changed options, replaced files and lost folders in any order, all is current.

SOAK_ROUNDS sets the number of rounds, SOAK_SEED the order.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import cv2
import pytest
import runs
from st1k4m.collection import build_manifest
from st1k4m.demo import dataset as demo

pytestmark = pytest.mark.slow

SMALL = {"spots": 60, "genes": 40, "um_per_px": 8.0}
SLIDES = ("Soak_A", "Soak_B")
OPTIONS = (
    [],
    ["expression={min_genes: 3}"],
    ["expression={n_top_genes: 20}"],
    ["geometry={max_outside: 0.4}"],
    ["tiles={size: 20}"],
    ["tiles={format: png}"],
    ["tiles={format: png, size: 20}"],
)
OLDER, NEWER = 1_000_000_000, 1_900_000_000
TRIES = 4
"""How many runs of one command may end with a wrong product that was removed and named."""


def give_each_spot_the_counts_of_the_next(path):
    header, *rows = [line.partition(",") for line in path.read_text().splitlines()]
    moved = zip(rows, [*rows[1:], rows[0]], strict=True)
    lines = ["".join(header), *(f"{spot},{counts}" for (spot, *_), (*_, counts) in moved)]
    path.write_text("".join(f"{line}\n" for line in lines))


class Soak:
    """A dataset with two working directories, and the events that may happen to them."""

    def __init__(self, folder, seed):
        self.chance = random.Random(seed)
        self.dataset, self.workdir = folder / "dataset", folder / "run"
        demo.write_meta(
            self.dataset,
            [demo.make_slide(self.dataset, name, seed=n, **SMALL) for n, name in enumerate(SLIDES)],
        )
        self.others = shutil.copytree(self.dataset, folder / "others")
        for path in self.others.rglob("*_count.csv"):
            give_each_spot_the_counts_of_the_next(path)
        for path in self.others.rglob("*.png"):
            cv2.imwrite(str(path), cv2.imread(str(path)) // 2)
        self.options = OPTIONS[0]
        self.outliving = []
        self.done = []

    def words(self, workdir=None):
        arguments = ("--config", f"dataset={self.dataset}", *self.options)
        return runs.command(workdir or self.workdir, *arguments)

    def note(self, what):
        self.done.append(what)

    # -- events between two runs

    def change_options(self):
        self.options = self.chance.choice(OPTIONS)
        self.note(f"options {self.options}")

    def replace_file(self):
        """Replace a file by one with other content and an older or a newer time stamp."""
        slide, (folder, suffix) = (
            self.chance.choice(SLIDES),
            self.chance.choice([("gene_exp", "_count.csv"), ("image", ".png")]),
        )
        here, there = (
            root / "Visium" / folder / f"{slide}{suffix}" for root in (self.dataset, self.others)
        )
        stamp = self.chance.choice((OLDER, NEWER))
        os.utime(there, (stamp, stamp))
        self._swap(here, there)
        self.note(f"{here.name} replaced, dated {stamp}")

    def swap_images(self):
        self._swap(*(self.dataset / f"Visium/image/{slide}.png" for slide in SLIDES))
        self.note("images swapped")

    def _swap(self, first, second):
        aside = first.with_name(".aside")
        first.rename(aside)
        second.rename(first)
        aside.rename(second)

    def lose_a_product(self):
        made = sorted(path for path in self.workdir.glob("results/*/*") if path.is_file())
        if made:
            path = self.chance.choice(made)
            path.unlink()
            self.note(f"lost {path.relative_to(self.workdir)}")

    def cut_a_product(self):
        """Truncate a product, as a full disk does, and keep its time stamp."""
        kinds = ("work/expression/*", "work/spots/*", "results/tiles/*.h5", "results/anndata/*")
        made = sorted(path for kind in kinds for path in self.workdir.glob(kind))
        if made:
            path = self.chance.choice(made)
            times = path.stat()
            os.truncate(path, times.st_size // 2)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            self.note(f"cut {path.relative_to(self.workdir)}")

    def lose_a_folder(self):
        folder = self.chance.choice(("work", ".snakemake", "results/report"))
        shutil.rmtree(self.workdir / folder, ignore_errors=True)
        self.note(f"lost {folder}/")

    # -- runs

    def run_and_kill(self):
        """Kill a run at some moment: all of it, or its driver alone, whose jobs continue."""
        process = runs.start(self.words())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=self.chance.uniform(2, 25))
            self.note(f"a run ended with {process.returncode}")
            return
        alone = self.chance.random() < 0.6
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        self.note(f"killed the {'driver' if alone else 'run'}")
        if alone:
            self.outliving.append(process)
        else:
            process.communicate()
        unlocked = runs.run([*self.words(), "--unlock"])
        assert unlocked.returncode == 0, unlocked.stdout

    def round(self):
        happenings = (
            self.change_options,
            self.change_options,
            self.replace_file,
            self.replace_file,
            self.swap_images,
            self.lose_a_product,
            self.cut_a_product,
            self.lose_a_folder,
        )
        for happening in self.chance.sample(happenings, self.chance.randint(1, 3)):
            happening()
        self.run_and_kill()

    def get_through(self):
        """Repeat the same command until it succeeds; return the number of runs."""
        for tries in range(1, TRIES + 1):
            done = runs.run(self.words())
            assert "Traceback" not in done.stdout, done.stdout
            if done.returncode == 0:
                return tries
        pytest.fail(f"{TRIES} runs of one command failed:\n{done.stdout}")

    def check(self, fresh):
        """Compare with a run in a new directory, with the current options and files."""
        tries = self.get_through()
        for process in self.outliving:
            runs.finish(process)
        self.outliving.clear()
        clean = runs.run(self.words(fresh))
        assert clean.returncode == 0, clean.stdout
        made, wanted = (self.products(folder) for folder in (self.workdir, fresh))
        assert {path: made.get(path) for path in wanted} == wanted
        # products of earlier options may remain: the tar of a format that is no longer selected
        assert {Path(path).suffix for path in made.keys() - wanted.keys()} <= {".tar"}
        rows = build_manifest.read_manifest(self.workdir / "results/manifest.tsv")
        assert {row["status"] for row in rows} == {"done"}
        assert runs.leftovers(self.workdir) == []
        assert "Nothing to be done" in runs.run([*self.words(), "-n"]).stdout
        return tries

    def products(self, workdir):
        return runs.digests(workdir)


def test_kills_changes_and_replaced_files_end_in_the_products_of_a_fresh_run(tmp_path):
    rounds, seed = (
        int(os.environ.get(f"SOAK_{name}", n)) for name, n in (("ROUNDS", 3), ("SEED", 1))
    )
    soak = Soak(tmp_path, seed)
    try:
        for number in range(1, rounds + 1):
            soak.round()
            if number % 6 == 0 or number == rounds:
                fresh = tmp_path / f"fresh{number}"
                tries = soak.check(fresh)
                print(f"round {number}: products of a fresh run, after {tries} runs")
                shutil.rmtree(fresh)
    finally:
        print("\n".join(soak.done))
        for process in soak.outliving:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
