"""Count files of any size, as the dataset prints them, made about as fast as a disk writes.

python tests/benchmarks/count_files.py PATH SPOTS GENES DENSITY [--whole]
"""

import argparse
from pathlib import Path

import numpy as np
from numba import njit


@njit(cache=True)
def _print_rows(out, chances, state, whole):
    """Print random rows (without ids) into ``out``; their ends, and the generator's state.

    A gene is zero but for its chance (of 2**32); counts are geometric, one in fifty times twenty.
    """
    ends = np.empty(len(out) // (12 * len(chances)), np.int64)
    position = 0
    for row in range(len(ends)):
        for gene in range(len(chances)):
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            out[position] = 44  # comma
            position += 1
            if state >> np.uint64(32) >= chances[gene]:
                out[position] = 48
                position += 1
            else:
                number = np.uint64(1)
                bits = state
                while bits & np.uint64(1):
                    number += np.uint64(1)
                    bits >>= np.uint64(1)
                if state & np.uint64(0xFFFFFF) < np.uint64(335544):
                    number *= np.uint64(20)
                divisor = np.uint64(1)
                while number // divisor > 9:
                    divisor *= np.uint64(10)
                while divisor:
                    out[position] = 48 + number // divisor % np.uint64(10)
                    position += 1
                    divisor //= np.uint64(10)
            if not whole:
                out[position] = 46
                out[position + 1] = 48
                position += 2
        out[position] = 10
        position += 1
        ends[row] = position
    return ends, state


def make_count_file(
    path: Path, spots: int, genes: int, density: float, *, whole: bool = False, seed: int = 1
) -> None:
    """Write ``<slide>_count.csv`` and ``<slide>_coord.csv`` beside it.

    Parameters
    ----------
    path
        The count file.
    spots, genes, density
        Its size and the share of non-zeros; genes differ in it as they do in tissue.
    whole
        Print ``3``, not ``3.0``.
    seed
        Of the numbers.
    """
    slide = path.name.removesuffix("_count.csv")
    ids = [f"{slide}_s_008um_{n // 1000:05d}_{n % 1000:05d}-1" for n in range(spots)]
    random = np.random.default_rng(seed)
    shares = random.gamma(0.4, 1.0, genes)
    for _ in range(20):  # none is more often found than always; the mean is as asked for
        shares = np.minimum(shares * density / shares.mean(), 0.98)
    chances = (shares * 2**32).astype(np.uint64)
    state = np.uint64(seed * 88172645463325252)
    # Twelve bytes a cell are room for any number above.
    out = np.empty(12 * genes * max(1, (1 << 23) // (12 * genes)), np.uint8)
    done = 0
    with path.open("wb") as file:
        names = [f"GENE{n}" for n in range(genes)]
        names[:13] = [f"MT-{n}" for n in range(min(13, genes))]
        file.write(("," + ",".join(names) + "\n").encode())
        while done < spots:
            ends, state = _print_rows(out, chances, np.uint64(state), whole)
            begin = 0
            for end in ends[: spots - done].tolist():
                file.write(ids[done].encode())
                file.write(out[begin:end])
                begin = end
                done += 1
    rows = "".join(
        f"{spot},{n // 1000 * 7.3},{n % 1000 * 7.3},3.65\n" for n, spot in enumerate(ids)
    )
    path.with_name(f"{slide}_coord.csv").write_text(",yaxis,xaxis,r\n" + rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("spots", type=int)
    parser.add_argument("genes", type=int)
    parser.add_argument("density", type=float)
    parser.add_argument("--whole", action="store_true", help="print 3, not 3.0")
    make_count_file(**vars(parser.parse_args()))
