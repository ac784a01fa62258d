"""The lattice: positions from centres alone are right, or doubted; the pitch is the fitted one."""

import numpy as np
import pytest
from st1k4m.demo import tissue as demo_tissue
from st1k4m.geometry.lattice import KINDS, fit_lattice, tell_kind
from st1k4m.geometry.numbering import number_spots

ARRAYS = {"ST": "square", "ST2K": "staggered", "Visium": "hexagonal", "VisiumHD": "square"}
CAN_BE = {"hexagonal": ["hexagonal"], "square": ["square", "staggered"]}
CAN_BE["staggered"] = CAN_BE["square"]
PITCH = 40.0


def lay(array, spots, *, rotation=0.0, missing=0.0, jitter=0.0, seed=0):
    """Spots of a round piece of an array at 40 pixels a pitch, with their true positions."""
    lattice, (height, width) = demo_tissue.lay_spots(
        array,
        int(2 * spots / (1 - missing)) + 8,
        um_per_px=demo_tissue.ARRAYS[array].pitch_um / PITCH,
        rotation=rotation,
        jitter=jitter,
        seed=seed,
    )
    away = np.hypot(lattice.x - width / 2, lattice.y - height / 2)
    near = np.argsort(away, kind="stable")[: int(spots / (1 - missing))]
    return lattice[np.random.default_rng(seed).permutation(near)[:spots]]


def number(x, y, array):
    return number_spots(x, y, CAN_BE[ARRAYS[array]])


def wrong(numbering, lattice, array, among=slice(None)):
    """How many of the numbered spots have a position other than theirs, but for one offset."""
    true_col = -lattice.col if array == "VisiumHD" else lattice.col  # columns run to the left
    known = (numbering.row >= 0) & (numbering.col >= 0)
    known &= np.isin(np.arange(len(known)), np.arange(len(known))[among])
    rows = (numbering.row - lattice.row)[known]
    cols = (numbering.col - true_col)[known]
    return int(((rows != np.median(rows)) | (cols != np.median(cols))).sum())


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("rotation", [0.0, 5.0, -10.0, 15.0])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_every_spot_gets_its_position(array, rotation, missing):
    for seed in range(5):
        lattice = lay(array, 300, rotation=rotation, missing=missing, jitter=0.02, seed=seed)
        kind, numbering = number(lattice.x, lattice.y, array)
        assert kind == ARRAYS[array]
        assert numbering.doubts == []
        assert (numbering.row >= 0).all()
        assert wrong(numbering, lattice, array) == 0


@pytest.mark.parametrize("array", ARRAYS)
def test_the_smallest_slide_is_enough(array):
    for seed in range(20):
        rotation = np.random.default_rng(seed).uniform(0, 15)
        lattice = lay(array, 54, rotation=rotation, missing=0.3, jitter=0.02, seed=seed)
        _, numbering = number(lattice.x, lattice.y, array)
        assert numbering.doubts == []
        assert wrong(numbering, lattice, array) == 0


@pytest.mark.parametrize("array", ARRAYS)
def test_the_jitter_of_her2st_is_borne(array):
    for seed in range(10):
        lattice = lay(array, 187, jitter=17 / 290, seed=seed)
        _, numbering = number(lattice.x, lattice.y, array)
        assert numbering.doubts == []
        assert (numbering.row >= 0).mean() > 0.98
        assert wrong(numbering, lattice, array) == 0


@pytest.mark.parametrize("array", ARRAYS)
def test_strays_mislead_nobody(array):
    for seed in range(20):
        lattice = lay(array, 60, rotation=7.0, missing=0.2, jitter=0.02, seed=seed)
        rng = np.random.default_rng(seed)
        x, y = lattice.x.copy(), lattice.y.copy()
        x[:5], y[:5] = rng.uniform(x.min(), x.max(), 5), rng.uniform(y.min(), y.max(), 5)
        _, numbering = number(x, y, array)
        assert wrong(numbering, lattice, array, among=slice(5, None)) == 0


@pytest.mark.parametrize("array", ARRAYS)
def test_pieces_of_tissue_share_one_numbering(array):
    lattice, (_, width) = demo_tissue.lay_spots(
        array, 1500, um_per_px=demo_tissue.ARRAYS[array].pitch_um / PITCH, rotation=4.0, jitter=0.02
    )
    pieces = lattice[np.flatnonzero(abs(lattice.x - width / 2) > 0.22 * width)]
    _, numbering = number(pieces.x, pieces.y, array)
    assert numbering.doubts == []
    assert wrong(numbering, pieces, array) == 0


def test_pieces_too_far_apart_are_doubted_and_never_numbered_wrong():
    told = 0
    for seed in range(40):
        lattice = lay("Visium", 60, jitter=0.06, seed=seed)
        step = PITCH * np.array([0.5, np.sqrt(3) / 2])
        apart = np.arange(60) < 30  # half of them 160 columns and 80 rows further on the array
        rows, cols = 80 * apart, 160 * apart
        x, y = lattice.x + cols * step[0], lattice.y + rows * step[1]
        far = demo_tissue.LaidSpots(x, y, lattice.row + rows, lattice.col + cols, lattice.r)
        _, numbering = number(x, y, "Visium")
        told += bool(numbering.doubts)
        assert numbering.doubts or wrong(numbering, far, "Visium") == 0
    assert told


def test_no_slide_of_a_thousand_is_wrong_in_silence():
    """A thousand slides of all kinds and sizes, with everything amiss at once."""
    sure = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        array = list(ARRAYS)[seed % 4]
        lattice = lay(
            array,
            int(rng.choice([30, 54, 100, 300])),
            rotation=rng.uniform(-15, 15),
            missing=rng.choice([0, 0.3]),
            jitter=rng.choice([0, 0.02, 0.06]),
            seed=seed,
        )
        x, y = lattice.x * rng.choice([1, 1, 0.9, 1.11]), lattice.y.copy()
        strays = int(rng.choice([0, 2, 4]))
        x[:strays] = rng.uniform(x.min(), x.max(), strays)
        kind, numbering = number(x, y, array)
        if numbering.doubts:
            continue
        sure += 1
        assert kind == ARRAYS[array], seed
        assert wrong(numbering, lattice, array, among=slice(strays, None)) == 0, seed
    assert sure > 950


@pytest.mark.parametrize("array", ARRAYS)
def test_the_pitch_is_fitted_and_its_error_honest(array):
    kind, off = ARRAYS[array], []
    for seed in range(60):
        lattice = lay(array, 150, rotation=3.0, jitter=0.05, seed=seed)
        fitted = fit_lattice(lattice.x, lattice.y, lattice.row, lattice.col, kind)
        assert abs(fitted.pitch / PITCH - 1) < 0.005
        assert abs(fitted.jitter / PITCH - 0.05) < 0.01
        assert fitted.rotation == pytest.approx(3.0 + 180 * (array == "VisiumHD"), abs=0.4) or (
            fitted.rotation == pytest.approx(-177.0, abs=0.4)
        )
        assert fitted.mirrored == (array == "VisiumHD")
        off.append((fitted.pitch - PITCH) / fitted.pitch_se)
    assert 0.75 < np.std(off) < 1.3
    assert abs(np.mean(off)) < 0.5


def test_the_pitch_is_that_of_numpys_least_squares():
    lattice = lay("ST", 187, rotation=2.0, jitter=0.03, seed=1)
    design = np.column_stack([lattice.col, lattice.row, np.ones(187)])
    (a, b, _), *_ = np.linalg.lstsq(design, np.column_stack([lattice.x, lattice.y]), rcond=None)
    across, down = np.hypot(a[0], b[0]), np.hypot(a[1], b[1])
    fitted = fit_lattice(lattice.x, lattice.y, lattice.row, lattice.col, "square")
    assert fitted.pitch_xy == pytest.approx((across, down), rel=1e-9)
    assert fitted.pitch == pytest.approx(np.sqrt(across * down), rel=1e-9)


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("squeeze", [0.9, 1.11])
def test_a_squeezed_image_is_told(array, squeeze):
    lattice = lay(array, 300, rotation=5.0, jitter=0.02)
    kind, numbering = number(lattice.x * squeeze, lattice.y, array)
    assert wrong(numbering, lattice, array) == 0
    fitted = fit_lattice(lattice.x * squeeze, lattice.y, numbering.row, numbering.col, kind)
    assert fitted.squeezed
    assert fitted.pitch_xy == pytest.approx((PITCH * squeeze, PITCH), rel=0.005)


@pytest.mark.parametrize("array", ARRAYS)
def test_square_pixels_are_not_called_squeezed(array):
    for seed in range(20):
        lattice = lay(array, 54, rotation=12.0, jitter=0.06, seed=seed)
        fitted = fit_lattice(lattice.x, lattice.y, lattice.row, lattice.col, ARRAYS[array])
        assert not fitted.squeezed


def test_spots_far_from_the_position_in_their_id_are_strays_and_do_not_bend_the_fit():
    lattice = lay("ST", 100, jitter=0.02)
    x = lattice.x.copy()
    x[:4] += [5 * PITCH, -3 * PITCH, 100 * PITCH, 0.6 * PITCH]
    fitted = fit_lattice(x, lattice.y, lattice.row, lattice.col, "square")
    assert fitted.strays.tolist() == [True] * 4 + [False] * 96
    assert abs(fitted.pitch / PITCH - 1) < 0.005


def test_ids_that_contradict_the_centres_are_doubted():
    lattice = lay("ST", 200, jitter=0.02)
    shuffled = np.random.default_rng(0).permutation(200)
    fitted = fit_lattice(lattice.x, lattice.y, lattice.row[shuffled], lattice.col, "square")
    assert fitted is None or fitted.doubts


def test_rows_and_columns_follow_the_conventions_of_tissue_positions():
    lattice = lay("Visium", 200, rotation=-6.0)
    _, numbering = number(lattice.x, lattice.y, "Visium")
    assert numbering.row.dtype == numbering.col.dtype == np.int32
    assert ((numbering.row + numbering.col) % 2 == 0).all()
    assert numbering.row.min() == 0
    assert numbering.col.min() in (0, 1)
    on_a_row = np.sort(numbering.col[numbering.row == 5])
    assert (np.diff(on_a_row) == 2).all()
    # Columns grow to the right, rows downwards.
    assert np.corrcoef(numbering.col, lattice.x)[0, 1] > 0.9
    assert np.corrcoef(numbering.row, lattice.y)[0, 1] > 0.9


def test_a_hexagonal_lattice_along_the_other_axis_has_its_columns_run_down():
    lattice = lay("Visium", 200)
    _, numbering = number(lattice.y, lattice.x, "Visium")  # swapped
    fitted = fit_lattice(lattice.y, lattice.x, numbering.row, numbering.col, "hexagonal")
    assert fitted.rotation == pytest.approx(90, abs=0.1)
    assert np.corrcoef(numbering.col, lattice.x)[0, 1] > 0.9


def test_one_parity_tells_a_staggered_array():
    square, staggered = lay("ST", 100), lay("ST2K", 100)
    assert tell_kind(square.row, square.col, CAN_BE["square"]) == "square"
    assert tell_kind(staggered.row, staggered.col, CAN_BE["square"]) == "staggered"
    assert tell_kind(staggered.row + 1, staggered.col, CAN_BE["square"]) == "staggered"
    assert tell_kind(square.row, square.col, ["hexagonal"]) is None
    assert tell_kind(staggered.row, staggered.col, ["square"]) == "square"
    few = slice(6)
    assert tell_kind(staggered.row[few], staggered.col[few], CAN_BE["square"]) is None
    assert tell_kind(staggered.row[few], staggered.col[few], ["square"]) == "square"


def random_points(rng, n):
    return rng.random((2, n)) * 1000


def on_a_line(rng, n):
    return np.arange(n) * 10.0, rng.normal(0, 0.1, n)


def at_one_place(rng, n):
    return np.full((2, n), 5.0)


def in_pairs(rng, n):
    x, y = rng.random((2, n // 2)) * 1000
    return np.r_[x, x + 3], np.r_[y, y]


@pytest.mark.parametrize("points", [random_points, on_a_line, at_one_place, in_pairs])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spots", [2, 30, 400])
def test_what_is_no_lattice_is_doubted(points, kind, spots):
    for seed in range(5):
        x, y = points(np.random.default_rng(seed), spots)
        kind, numbering = number_spots(x, y, CAN_BE[kind])
        fitted = fit_lattice(x, y, numbering.row, numbering.col, kind)
        assert numbering.doubts
        assert (numbering.row == -1).all()
        assert fitted is None


@pytest.mark.parametrize(
    ("array", "kinds"), [("Visium", ["square", "staggered"]), ("ST", ["hexagonal"])]
)
def test_another_kind_of_lattice_is_doubted(array, kinds):
    lattice = lay(array, 300, rotation=4.0, jitter=0.02)
    assert number_spots(lattice.x, lattice.y, kinds)[1].doubts


def test_of_all_kinds_the_right_one_is_found():
    for array, kind in ARRAYS.items():
        lattice = lay(array, 300, rotation=4.0, jitter=0.02)
        found, numbering = number_spots(lattice.x, lattice.y, list(KINDS))
        assert (found, numbering.doubts) == (kind, [])


@pytest.mark.slow
@pytest.mark.parametrize("array", ["Visium", "VisiumHD"])
def test_the_largest_slide_is_numbered_without_an_error(array):
    lattice = lay(array, 605_471, rotation=1.0, missing=0.2, jitter=0.02)
    _, numbering = number(lattice.x, lattice.y, array)
    assert numbering.doubts == []
    assert (numbering.row >= 0).all()
    assert wrong(numbering, lattice, array) == 0
