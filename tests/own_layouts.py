"""A generated section, written in the layouts of Space Ranger 1 to 4 and of ST pipelines."""

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import io as scipy_io
from scipy import sparse

COLUMNS = ["barcode", "in_tissue", "array_row", "array_col"]
COLUMNS += ["pxl_row_in_fullres", "pxl_col_in_fullres"]


@dataclass
class Section:
    """A section: positions of the whole array in full-resolution pixels, counts in tissue."""

    positions: pd.DataFrame
    counts: sparse.csr_matrix
    barcodes: list[str]
    genes: list[str]
    ids: list[str]
    types: list[str]
    image: np.ndarray
    factors: dict[str, float]

    def raw(self):
        """Return counts and barcodes of the whole array; spots outside tissue have few counts."""
        order = {barcode: row for row, barcode in enumerate(self.barcodes)}
        rows = [order.get(barcode, -1) for barcode in self.positions["barcode"]]
        beside = sparse.random(len(rows), len(self.genes), 0.1, "csr", random_state=1)
        beside.data[:] = 1
        picked = [self.counts[r] if r >= 0 else beside[i] for i, r in enumerate(rows)]
        return sparse.vstack(picked).tocsr().astype(np.int32), list(self.positions["barcode"])


def make_section(hd=False, seed=0, antibodies=0, bin_um=8):
    """Make a section on a 16 x 12 array: 2.0 um per pixel, or 0.5 for VisiumHD."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0:16, 0:12] + 3
    rows, cols = rows.ravel(), cols.ravel()
    if hd:
        pitch = bin_um / 0.5
        x, y = 960 - cols * pitch, 40 + (rows - 3) * pitch
        barcodes = [f"s_{bin_um:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(rows, cols, strict=True)]
        factors = {
            "spot_diameter_fullres": pitch,
            "bin_size_um": float(bin_um),
            "microns_per_pixel": 0.5,
            "fiducial_diameter_fullres": 1205.0,
            "regist_target_img_scalef": 0.5,
        }
    else:
        cols = 2 * cols + rows % 2
        x, y = 60 + cols * 25.0, 70 + rows * 25.0 * np.sqrt(3)
        letters = rng.choice(list("ACGT"), (len(rows), 16))
        barcodes = ["".join(word) + "-1" for word in letters]
        factors = {"spot_diameter_fullres": 32.5, "fiducial_diameter_fullres": 52.5}
    in_tissue = ((rows - rows.mean()) ** 2 / 40 + (cols - cols.mean()) ** 2 / 60 < 1).astype(int)
    positions = pd.DataFrame(
        dict(zip(COLUMNS, [barcodes, in_tissue, rows, cols, y, x], strict=True))
    )
    positions = positions.sample(frac=1, random_state=seed).reset_index(drop=True)
    inside = positions["barcode"][positions["in_tissue"] == 1].sort_values().tolist()
    genes = [f"GENE{i}" for i in range(28)] + ["MT-CO1", "GENE3"]
    ids = [f"ENSG{i:011d}" for i in range(len(genes))]
    types = ["Gene Expression"] * len(genes) + ["Antibody Capture"] * antibodies
    genes += [f"CD{i}" for i in range(antibodies)]
    ids += [f"AB{i}" for i in range(antibodies)]
    counts = sparse.csr_matrix(rng.poisson(0.8, (len(inside), len(genes))).astype(np.int32))
    image = np.full((920, 1000, 3), 235, np.uint8)
    for r, c, spot in zip(
        positions[COLUMNS[4]], positions[COLUMNS[5]], positions["in_tissue"], strict=True
    ):
        if spot:
            tone = [int(v) for v in rng.integers(60, 180, 3)]
            cv2.circle(image, (int(c), int(r)), 24 if not hd else 9, tone, -1)
    factors |= {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1}
    return Section(positions, counts, inside, genes, ids, types, image, factors)


def write_h5(path, counts, barcodes, section):
    """Write a feature-barcode matrix as Space Ranger does."""
    with h5py.File(path, "w") as file:
        file.attrs["software_version"] = "spaceranger-9.9.9"
        group = file.create_group("matrix")
        text = {"barcodes": barcodes}
        for name, values in text.items():
            group[name] = np.array(values, "S")
        group["data"], group["indices"] = counts.data, counts.indices.astype(np.int64)
        group["indptr"] = counts.indptr.astype(np.int64)
        group["shape"] = np.array(counts.shape[::-1], np.int32)
        features = group.create_group("features")
        for name, values in (
            ("name", section.genes),
            ("id", section.ids),
            ("feature_type", section.types),
        ):
            features[name] = np.array(values, "S")


def write_mtx(folder, stem, counts, barcodes, section, zipped, legacy):
    """Write matrix.mtx, barcodes.tsv and features.tsv, or genes.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    scipy_io.mmwrite(buffer, counts.T.tocoo(), field="integer", precision=0)
    columns = (
        (section.ids, section.genes) if legacy else (section.ids, section.genes, section.types)
    )
    features = "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))
    write(folder / f"{stem}matrix.mtx", buffer.getvalue(), zipped)
    write(folder / f"{stem}barcodes.tsv", "".join(f"{b}\n" for b in barcodes).encode(), zipped)
    name = "genes" if legacy else "features"
    write(folder / f"{stem}{name}.tsv", features.encode(), zipped)


def write(path, content, zipped=False):
    """Write a file; compress it if its name ends with .gz."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if zipped:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, mtime=0))
    else:
        path.write_bytes(content)


def png(image):
    """Encode an RGB image."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def shrink(image, factor):
    height, width = image.shape[:2]
    size = round(width * factor), round(height * factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def write_outs(
    folder,
    section,
    *,
    version=2,
    matrix="h5",
    raw=False,
    flat=False,
    prefix="",
    zipped=False,
    images=("hires", "lowres"),
    legacy=False,
    bin_um=0,
):
    """Write an ``outs`` folder.

    With ``version`` 1 the positions have no header. ``flat`` puts all files into one folder.
    ``bin_um`` makes a VisiumHD ``binned_outputs``.
    """
    folder = Path(folder)
    top = folder if flat or not bin_um else folder / "binned_outputs" / f"square_{bin_um:03d}um"
    top.mkdir(parents=True, exist_ok=True)
    spatial = top if flat else top / "spatial"
    counts, barcodes = section.raw() if raw else (section.counts, section.barcodes)
    kind = "raw" if raw else "filtered"
    if matrix == "h5":
        path = top / f"{prefix}{kind}_feature_bc_matrix.h5"
        write_h5(path, counts, barcodes, section)
        if zipped and flat:
            write(path, path.read_bytes(), True)
            path.unlink()
    else:
        place = top if flat else top / f"{kind}_feature_bc_matrix"
        write_mtx(
            place,
            prefix if flat else "",
            counts,
            barcodes,
            section,
            zipped or matrix == "mtx.gz",
            legacy,
        )
    positions = section.positions
    if bin_um:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(positions, preserve_index=False), buffer)
        write(spatial / f"{prefix}tissue_positions.parquet", buffer.getvalue(), zipped)
    else:
        name = "tissue_positions_list.csv" if version == 1 else "tissue_positions.csv"
        text = positions.to_csv(index=False, header=version != 1).encode()
        write(spatial / f"{prefix}{name}", text, zipped)
    factors = json.dumps(section.factors).encode()
    write(spatial / f"{prefix}scalefactors_json.json", factors, zipped)
    for which in images:
        picture = shrink(section.image, section.factors[f"tissue_{which}_scalef"])
        write(spatial / f"{prefix}tissue_{which}_image.png", png(picture), zipped)
    # Other files of the folder, which must be ignored.
    write(spatial / f"{prefix}aligned_fiducials.png", png(section.image[:50, :50]))
    if not flat:
        write(top / "analysis" / "clustering" / "matrix.csv", b"Barcode,Cluster\n")
        write_h5(top / "raw_probe_bc_matrix.h5", section.counts, section.barcodes, section)
    return folder


def pack(folder, archive):
    """Put a folder into a tar file, under its own name."""
    mode = "w:gz" if str(archive).endswith("gz") else "w"
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=Path(folder).name)
    return archive


def row(slide, path, **columns):
    """Make a row of a table of slides."""
    from st1k4m.source.own_table import COLUMNS as names

    return dict.fromkeys(names, "") | {"slide": slide, "path": str(path)} | columns
