"""The probe against the authors' note, and what it leaves out against what it says."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn import metrics
from sklearn.linear_model import SGDClassifier
from st1k4m.baseline import probe_labels, score_clusters
from st1k4m.baseline.build_baseline import summarise_clusters, summarise_probe
from st1k4m.baseline.numbers import read_json
from st1k4m.baseline.targets import Targets, read_targets


def labelled(slides, spots=40, patient="", seed=0, labels=("a", "b", "c")):
    """Targets of labels alone, and features that tell them; ``slides``: {slide: study}."""
    rng = np.random.default_rng(seed)
    names = list(slides)
    index = [f"{slide}_{number}" for slide in names for number in range(spots)]
    slide = np.repeat(names, spots)
    label = rng.choice([*labels, ""], len(slide))
    table = pd.DataFrame({"study": slides, "group": slides})
    table = table.assign(tissue="brain", patient=patient, part="0", tech="", species="")
    found = pd.DataFrame({"slide": slide, "label": label, "total": 1.0}, index)
    targets = Targets(table, found, [], None, None, {}, {})
    centre = {name: rng.normal(size=6) * 1.5 for name in labels} | {"": np.zeros(6)}
    matrix = np.stack([centre[name] for name in label]) + rng.normal(size=(len(slide), 6))
    return targets, matrix


def test_the_authors_protocol_is_what_their_note_says():
    targets, matrix = labelled({"s": "x", "t": "x"})
    found = probe_labels.probe_study(targets, matrix, "x")["protocols"]["authors"]
    here = (targets.spots["label"] != "").to_numpy()
    x, y = matrix[here], targets.spots["label"].to_numpy()[here].astype(str)
    validated, tested = {}, {}
    for alpha in (1.0, 0.1, 0.01, 0.001, 0.0001):
        for seed in range(5):
            order = np.random.default_rng(seed).permutation(len(y))
            train, valid, test = np.split(order, [round(0.8 * len(y)), round(0.9 * len(y))])
            model = SGDClassifier(
                loss="log_loss",
                penalty="l2",
                alpha=alpha,
                class_weight="balanced",
                max_iter=10000,
                random_state=seed,
            ).fit(x[train], y[train])
            for part, into in ((valid, validated), (test, tested)):
                value = metrics.f1_score(y[part], model.predict(x[part]), average="macro")
                into.setdefault(alpha, []).append(value)
    best = max(validated, key=lambda alpha: np.mean(validated[alpha]))
    assert found["alpha"] == best
    np.testing.assert_allclose([fold["macro_f1"] for fold in found["folds"]], tested[best])


def test_slides_patients_and_studies_are_left_out_as_a_whole():
    slides = {"s1": "x", "s2": "x", "s3": "x", "t1": "y", "u1": "z"}
    targets, matrix = labelled(slides)
    found = probe_labels.probe_study(targets, matrix, "x")
    by_slide = found["protocols"]["held_out_slides"]
    assert by_slide["unit"] == "slide"
    assert sorted(fold["test"] for fold in by_slide["folds"]) == [["s1"], ["s2"], ["s3"]]
    (fold,) = found["protocols"]["held_out_studies"]["folds"]
    assert fold["test"] == ["x"] and fold["macro_f1"] > 0.6
    assert sum(found["labels"].values()) == int((targets.spots["label"][:120] != "").sum())
    by_patient, matrix = labelled(slides, patient="p")
    found = probe_labels.probe_study(by_patient, matrix, "x")
    assert "held_out_slides" not in found["protocols"]  # all of one patient


def test_a_label_that_was_never_trained_on_is_named_and_counts_as_wrong():
    targets, matrix = labelled({"s": "x", "t": "x"})
    spots = targets.spots.copy()
    spots.loc[(spots["slide"] == "s") & (spots["label"] == "a"), "label"] = "only here"
    targets = Targets(targets.slides, spots, [], None, None, {}, {})
    folds = probe_labels.probe_study(targets, matrix, "x")["protocols"]["held_out_slides"]["folds"]
    (fold,) = [fold for fold in folds if fold["test"] == ["s"]]
    assert fold["unseen"] == ["only here"] and fold["macro_f1"] <= 2 / 3


def test_the_macro_f1_is_over_the_labels_of_the_part_that_is_tested():
    labels, predicted = np.array(["a", "a", "b"]), np.array(["a", "c", "b"])
    assert probe_labels.score_f1(labels, predicted) == pytest.approx((2 / 3 + 1) / 2)


def test_a_study_of_unlike_slides_has_a_gap(prepared, made, tmp_path):
    targets, features = prepared
    probe_labels.probe_labels(targets, features, tmp_path / "s", encoder="pixels")
    scores = read_json(tmp_path / "s")
    assert [study["study"] for study in scores["studies"]] == [f"study{n}" for n in range(4)]
    rows = {(row.protocol, row.tissue): row for row in summarise_probe("pixels", scores, 500, 0)}
    authors, slides = rows["authors", "all"], rows["held_out_slides", "all"]
    expected = np.mean(
        [f["macro_f1"] for s in scores["studies"] for f in s["protocols"]["authors"]["folds"]]
    )
    assert authors.value == pytest.approx(expected) and authors.groups == 5
    assert slides.groups == 4 and slides.low <= slides.value <= slides.high
    assert slides.gap == pytest.approx(authors.value - slides.value)
    assert {tissue for _, tissue in rows} == {"all", "breast", "colon"}


def test_cluster_scores_are_those_of_scikit_learn(prepared, made, tmp_path):
    targets, features = prepared
    score_clusters.score_clusters(targets, features, tmp_path / "s", encoder="pixels")
    scores = read_json(tmp_path / "s")
    assert sorted(scores["slides"]) == made.slides
    from st1k4m.formats.features import read_features

    found = read_targets(targets)
    labels = found.spots["label"].iloc[found.rows(["G1_S1"])].to_numpy().astype(str)
    matrix = read_features(features["G1_S1"], "G1_S1").features[labels != ""]
    labels = labels[labels != ""]
    facts = scores["slides"]["G1_S1"]
    assert facts["spots"] == len(labels) and facts["group"] == "study1"
    authors = facts["protocols"]["authors"]
    assert authors["silhouette"] == pytest.approx(metrics.silhouette_score(matrix, labels))
    expected = metrics.calinski_harabasz_score(matrix, labels)
    assert authors["calinski_harabasz"] == pytest.approx(expected)
    assert authors["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(matrix, labels))
    rows = summarise_clusters("pixels", scores, 500, 0)
    assert len(rows) == 3 * 2 * 3  # metrics, protocols, tissues
    whole = [row for row in rows if (row.tissue, row.metric) == ("all", "silhouette")]
    values = [facts["protocols"]["authors"]["silhouette"] for facts in scores["slides"].values()]
    assert whole[0].value == pytest.approx(np.mean(values)) and whole[0].groups == 8
    assert whole[1].groups == 4
