"""What is written is read again, and is what other programs find in the file."""

import h5py
import numpy as np
import pandas as pd
import pytest
from st1k4m.formats import ledger, record, spots, tile_store
from st1k4m.formats.features import Features, read_features, write_features
from st1k4m.run.provenance import Made

NAMES = [f"S_{number}x1" for number in range(5)]


def make_spots(**columns):
    places = {name: np.arange(5, dtype=np.float64) for name in "xyr"}
    on_array = {name: np.arange(5, dtype=np.int32) for name in ("array_row", "array_col")}
    outside = np.array([False, True, False, False, False])
    return spots.SpotTable(NAMES, list("abcde"), **places, **on_array, outside=outside, **columns)


@pytest.mark.parametrize("selected", [None, np.array([True, False, True, True, False])])
def test_spots(tmp_path, selected):
    table, path = make_spots(selected=selected), tmp_path / "S.parquet"
    spots.write_spots(path, table, {"radius": 3.5, "flags": []}, Made("align_spots", 1))
    again, facts = spots.read_spots(path)
    assert facts == {"radius": 3.5, "flags": []}
    for name, values in vars(table).items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)
        if values is not None:
            assert pd.read_parquet(path)[name].tolist() == list(values)


def test_ledger(tmp_path):
    table = make_spots()
    written = ledger.Ledger(
        **{name: values for name, values in vars(table).items() if name in ledger.COLUMNS},
        in_counts=np.ones(5, bool),
        in_coord=np.array([True, True, True, True, False]),
        tile=np.arange(5),
        reason=["", "few_counts", "", "", "no_coordinates"],
    )
    path = tmp_path / "S.parquet"
    ledger.write_ledger(path, written)
    assert list(pd.read_parquet(path)) == list(ledger.COLUMNS)
    barcodes, row, col = ledger.read_positions(path)
    assert barcodes == list("abcde") and row.tolist() == col.tolist() == [0, 1, 2, 3, 4]
    assert ledger.read_dropped(path).tolist() == [[1.0, 1.0]]
    assert written.kept == [NAMES[0], NAMES[2], NAMES[3]]


@pytest.mark.parametrize("compression", ["none", "lzf", "gzip", None])
@pytest.mark.parametrize("keep", [None, np.array([True, False, True, True, False])])
def test_tile_store(tmp_path, compression, keep):
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (5, 4, 4, 3), np.uint8)
    coords, inside = rng.integers(0, 99, (5, 2)), rng.random(5).astype(np.float32)
    places = tile_store.Places("S", np.array(NAMES, object), coords, inside, 8, 4, np.nan)
    path = tmp_path / "S.h5"
    kept = np.ones(5, bool) if keep is None else keep
    picture = rng.integers(0, 256, (6, 7, 3), np.uint8)
    with tile_store.create(path, places, compression, all_stay=keep is None) as writer:
        for rows in ([3, 4], [0, 1, 2]):
            writer.write(np.array(rows), tiles[rows])
        pictures = {tile_store.HIRES: picture, tile_store.LOWRES: picture[:2]}
        writer.finish(inside[kept], pictures, {"S_9x9": "off_tissue"}, {"tiles": 5}, keep)
    found = tile_store.read_places(path)
    assert found.barcodes.tolist() == places.barcodes[kept].tolist()
    np.testing.assert_array_equal(found.coords, coords[kept])
    np.testing.assert_array_equal(found.inside, inside[kept])
    assert (found.slide, found.side, found.size) == ("S", 8, 4) and np.isnan(found.um_per_px)
    facts = tile_store.read_store_facts(path)
    assert facts.dropped == {"S_9x9": "off_tissue"} and facts.facts == {"tiles": 5}
    np.testing.assert_array_equal(facts.pictures["hires"], picture)
    np.testing.assert_array_equal(tile_store.read_hires(path), picture)
    np.testing.assert_array_equal(tile_store.read_tissue(path), inside[kept])
    with h5py.File(path) as file:  # as HEST's and TRIDENT's readers do
        assert file["coords"].attrs["patch_size_src"] == file.attrs["patch_size_src"] == 8
        assert ("img" in file) == bool(compression)
        if compression:
            np.testing.assert_array_equal(file["img"][:], tiles[kept])
            store = tile_store.TileStore(path)
            np.testing.assert_array_equal([store[row] for row in range(len(store))], tiles[kept])
            for rows in ([0, 1, 2], [2, 0, -1, 0], [], np.array([1])):
                np.testing.assert_array_equal(
                    store.read(rows), tiles[kept][np.array(rows, int)], strict=True
                )
            for rows in ([5], [-6], [0.0], 1):
                with pytest.raises(IndexError):
                    store.read(rows)


def test_features(tmp_path):
    rows = np.random.default_rng(0).random((5, 3), np.float32)
    names = ("encoder", "weights", "transform", "mismatch", "tiles", "revision")
    texts = {name: f"its {name}" for name in names}
    write_features(tmp_path / "S.h5", Features("S", rows, NAMES, **texts))
    found = read_features(tmp_path / "S.h5", "S")
    np.testing.assert_array_equal(found.features, rows)
    assert vars(found) == vars(Features("S", found.features, NAMES, **texts))


def test_record(tmp_path):
    made = {"align_spots": Made("align_spots", 2)}
    written = record.compose(
        slide="S",
        study={"tech": "ST"},
        spots=record.SpotTotals(5, 4, 5, 3, {"few_counts": 2}),
        expression={"genes": 7, "genes_in_file": 8},
        geometry={"width": 30, "height": 20, "um_per_px": None, "radius": 2.5, "tier": "unknown"},
        tiles={},
        placement=None,
        flags=["b"],
        warnings=["µ"],
        parameters={},
        versions={},
        annotation={"fat": 2},
        made=made,
    )
    record.write_record(tmp_path / "S.json", written)
    found = record.read_record(tmp_path / "S.json")
    assert found == written
    assert (found.slide, found.tech, found.genes, found.genes_in_file) == ("S", "ST", 7, 8)
    assert found.spots == record.SpotTotals(5, 4, 5, 3, {"few_counts": 2})
    assert (found.size, found.radius, found.um_per_px) == ((30, 20), 2.5, None)
    assert found.annotation == {"label": ["fat"], "spots": [2]}
    assert set(found.content) - set(found.without_origins) == {"made"}


def test_a_record_that_lacks_a_part_says_which(tmp_path):
    (tmp_path / "S.json").write_text('{"slide": "S", "spots": {"kept": 1}}')
    found = record.read_record(tmp_path / "S.json")
    for name, lacking in {"genes": "expression", "size": "geometry", "spots": "in_counts"}.items():
        with pytest.raises(KeyError, match=lacking):
            getattr(found, name)
