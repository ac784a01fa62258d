"""A dataset made from whole numbers only: it is the same on every machine."""

import cv2
import numpy as np

SLIDES = {"Golden_ST": "ST", "Golden_1.0+V": "Visium"}


def write_dataset(folder):
    """Write two slides, whose content has no meaning."""
    lines = ["slide,tech,species,tissue,pmid,involve_cancer,title,spot_num,gene_num"]
    for name, tech in SLIDES.items():
        write_slide(folder / tech, name, tech)
        lines.append(f"{name},{tech},human,breast,1,True,On numbers,120,30")
    labels = "".join(f"Golden_ST_{n % 12}x{n // 12}\t{'ab'[n % 2]}\n" for n in range(100))
    for path, text in (
        ("meta/meta_all_gene02122025.csv", "\n".join(lines) + "\n"),
        ("annotation/Golden_ST_anno.csv", "\tV2\n" + labels),
    ):
        (folder / path).parent.mkdir()
        (folder / path).write_text(text)


def write_slide(folder, name, tech):
    """Write a slide: 12 columns by 10 rows of spots, 40 pixels apart, over coloured blocks."""
    genes = [*(f"GENE{n}" for n in range(26)), "MT-CO1", "MT-ND1", "SAME", "SAME"]
    counts, coord = [",".join(["", *genes])], [",yaxis,xaxis,r"]
    for n in range(120):
        column, row = n % 12, n // 12
        hexagonal = tech == "Visium"
        y = 60 + (35 * row if hexagonal else 40 * row)
        x = 60 + 40 * column + (20 * (row % 2) if hexagonal else 0)
        letters = "".join("ACGT"[n // 4**place % 4] for place in range(16))
        spot = f"{name}_{letters}-1" if hexagonal else f"{name}_{column}x{row}"
        cells = (max(0, (n * 7 + gene * 13 + n * gene) % 23 - 14) for gene in range(30))
        if n != 5:
            counts.append(",".join([spot, *map(str, cells)]))
        if n != 7:
            coord.append(f"{spot},{y},{x},{12.75 if hexagonal else 10.25}")
    y, x = np.mgrid[:520, :620]
    block = (x // 50 + y // 50) % 3
    image = np.stack([170 + (x + y) % 16, 90 + 20 * block, 200 - 10 * block], axis=-1)
    image[(x < 30) | (y < 30) | (x > 560) | (y > 460)] = 240
    for part, suffix, content in (
        ("gene_exp", "_count.csv", "\n".join(counts) + "\n"),
        ("coord", "_coord.csv", "\n".join(coord) + "\n"),
    ):
        (folder / part).mkdir(parents=True)
        (folder / part / f"{name}{suffix}").write_text(content)
    (folder / "image").mkdir()
    cv2.imwrite(str(folder / "image" / f"{name}.png"), image.astype(np.uint8))
