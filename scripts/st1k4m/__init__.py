"""Read, align and cut the slides of STimage-1K4M; knows nothing of Snakemake.

``REVISIONS`` holds one integer per step. It goes through the ``params`` of the step's rule,
so raising it re-runs that step for every slide: raise it whenever the step's output changes.
"""

__version__ = "0.1.0"

REVISIONS = {
    "count_expression": 1,
    "align_spots": 1,
    "cut_tiles": 1,
    "build_anndata": 1,
    "draw_slide": 1,
    "build_manifest": 1,
    "build_report": 1,
}
