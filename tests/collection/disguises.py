"""Slides in disguise: what the same section looks like when somebody publishes it again."""

import csv
import io
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image
from scipy import sparse
from st1k4m.collection.fingerprint_slide import make_fingerprint
from st1k4m.expression.dense_csv import read_counts

Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Seen:
    """A slide as it is read: counts (spots x genes), barcodes, centres (x, y), image RGB."""

    counts: sparse.csr_matrix
    barcodes: list[str]
    points: np.ndarray
    image: np.ndarray


def read_slide(folder, tech, slide):
    """Read a slide in the dataset's layout, with the spots that are in both files."""
    counts = read_counts(folder / tech / "gene_exp" / f"{slide}_count.csv")
    with open(folder / tech / "coord" / f"{slide}_coord.csv", encoding="utf-8") as file:
        centres = {line[0]: (float(line[2]), float(line[1])) for line in list(csv.reader(file))[1:]}
    kept = [index for index, spot in enumerate(counts.spots) if spot in centres]
    return Seen(
        counts.matrix[kept],
        [counts.spots[index].removeprefix(f"{slide}_") for index in kept],
        np.array([centres[counts.spots[index]] for index in kept]),
        np.asarray(Image.open(folder / tech / "image" / f"{slide}.png").convert("RGB")),
    )


def fingerprint(name, seen):
    """Fingerprint a slide as the workflow would: spots with a gene, and a picture of 2,000 px."""
    detected = np.asarray((seen.counts > 0).sum(axis=1)).ravel()
    kept = detected > 0 if detected.any() else np.full(len(detected), True)
    height, width = seen.image.shape[:2]
    scale = min(1, 2000 / max(height, width))
    picture = cv2.resize(seen.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return make_fingerprint(
        name,
        barcodes=[barcode for barcode, keep in zip(seen.barcodes, kept, strict=True) if keep],
        totals=np.asarray(seen.counts.sum(axis=1)).ravel()[kept],
        detected=detected[kept],
        points=seen.points[kept],
        width=width,
        height=height,
        picture=picture,
    )


def as_jpeg(seen, quality=80):
    """Write the image as JPEG and read it again."""
    file = io.BytesIO()
    Image.fromarray(seen.image).save(file, "JPEG", quality=quality)
    return replace(seen, image=np.asarray(Image.open(file)))


def scaled(seen, factor=0.7):
    """Shrink the image with all that is measured in its pixels."""
    image = cv2.resize(seen.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return replace(seen, image=image, points=seen.points * factor)


def mirrored(seen):
    """Mirror the image left and right."""
    points = np.column_stack([seen.image.shape[1] - seen.points[:, 0], seen.points[:, 1]])
    return replace(seen, image=np.ascontiguousarray(seen.image[:, ::-1]), points=points)


def turned(seen):
    """Turn the image by 90 degrees clockwise."""
    points = np.column_stack([seen.image.shape[0] - seen.points[:, 1], seen.points[:, 0]])
    return replace(seen, image=np.ascontiguousarray(np.rot90(seen.image, -1)), points=points)


def with_spots(seen, share=0.6, seed=0):
    """Keep a share of the spots, in another order."""
    random = np.random.default_rng(seed).permutation(len(seen.barcodes))
    kept = random[: max(1, int(share * len(random)))]
    return replace(
        seen,
        counts=seen.counts[kept],
        barcodes=[seen.barcodes[index] for index in kept],
        points=seen.points[kept],
    )


def with_genes(seen, share=0.5, seed=0):
    """Keep a share of the genes; what they are called does not matter to a fingerprint."""
    random = np.random.default_rng(seed).permutation(seen.counts.shape[1])
    return replace(seen, counts=seen.counts[:, np.sort(random[: max(1, int(share * len(random)))])])


def with_prefix(seen, prefix="other_"):
    """Put something before every barcode."""
    return replace(seen, barcodes=[prefix + barcode for barcode in seen.barcodes])


def with_other_barcodes(seen):
    """Number the spots."""
    return replace(seen, barcodes=[f"spot{index}" for index in range(len(seen.barcodes))])


def without_image(seen):
    """Put an empty image in place of the slide's."""
    return replace(seen, image=np.full_like(seen.image, 240))


def cropped(seen):
    """Cut a tenth off the left and off the top, with the spots that were there."""
    height, width = seen.image.shape[:2]
    points = seen.points - [width // 10, height // 10]
    kept = np.flatnonzero((points > 0).all(axis=1))
    return replace(
        seen,
        image=np.ascontiguousarray(seen.image[height // 10 :, width // 10 :]),
        points=points[kept],
        counts=seen.counts[kept],
        barcodes=[seen.barcodes[index] for index in kept],
    )


def in_turn(*steps):
    """Disguise a slide by several steps."""

    def disguise(seen):
        for step in steps:
            seen = step(seen)
        return seen

    return disguise


DISGUISES = {
    "jpeg": as_jpeg,
    "scaled": scaled,
    "mirrored": mirrored,
    "turned": turned,
    "spots": with_spots,
    "genes": with_genes,
    "prefix": with_prefix,
    "barcodes": with_other_barcodes,
    "cropped": cropped,
    "all": in_turn(with_genes, with_spots, with_prefix, scaled, mirrored, as_jpeg),
    "all, other barcodes": in_turn(
        with_genes, with_spots, with_other_barcodes, scaled, mirrored, as_jpeg
    ),
}
#: Where the counts alone must do.
BLIND = {
    "no image": without_image,
    "no image, spots": in_turn(without_image, with_spots),
    "no image, genes": in_turn(without_image, with_genes),
    "no image, spots, other barcodes": in_turn(without_image, with_spots, with_other_barcodes),
}
