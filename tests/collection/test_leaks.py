"""Leaks are found in any table or list that names slides."""

import json

import pytest
from st1k4m.collection.find_leaks import SAME_SLIDE, find_leaks
from st1k4m.collection.relations import Relation
from st1k4m.collection.slide_lists import Names, read_slide_list
from st1k4m.collection.split_options import SplitOptions
from st1k4m.errors import ConfigError

SLIDES = ["GSE1_a", "GSE1_b", "GSE2_c", "GSE2_d", "Human_Brain_e", "Human_Brain_e2", "Lone.1+x"]
FOUND = [
    Relation("GSE1_a", "GSE1_b", "same_block", "one block", "certain"),
    Relation("GSE1_b", "GSE2_c", "same_section", "same counts", "likely"),
    Relation("GSE2_c", "GSE2_d", "same_study", "one accession", "certain"),
    Relation("GSE2_d", "Human_Brain_e", "same_patient", "equal numbers", "possible"),
    Relation("GSE1_a", "HEST-1k:NCBI7", "also_in", "one publication", "certain"),
    Relation("Human_Brain_e", "HEST-1k:TENX9", "also_in", "equal numbers", "possible"),
]


def leaks(path, **options):
    found = find_leaks(path, SLIDES, FOUND, **options)
    return [(leak.relation, leak.slide_a, leak.slide_b) for leak in found.leaks]


def write(folder, text, name="list.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_every_pair_in_different_parts_is_named(tmp_path):
    path = write(tmp_path, "slide,part\nGSE1_a,train\nGSE1_b,test\nGSE2_c,train\nGSE2_d,test\n")
    assert leaks(path) == [
        ("same_section", "GSE1_b", "GSE2_c"),
        ("same_block", "GSE1_a", "GSE1_b"),
        ("same_study", "GSE1_a", "GSE2_d"),
        ("same_study", "GSE2_c", "GSE2_d"),
    ]
    assert leaks(path, by="patient") == [
        ("same_section", "GSE1_b", "GSE2_c"),
        ("same_block", "GSE1_a", "GSE1_b"),
    ]
    assert leaks(path, by="block", confidence="certain") == [("same_block", "GSE1_a", "GSE1_b")]


def test_a_leak_through_a_slide_that_is_in_no_part_is_found(tmp_path):
    path = write(tmp_path, "slide\tsplit\nGSE1_a\t0\nGSE2_c\t1\n", "x.tsv")
    (leak,) = find_leaks(path, SLIDES, FOUND, by="block").leaks
    assert (leak.slide_a, leak.slide_b, leak.relation) == ("GSE1_a", "GSE2_c", "same_block")
    assert leak.evidence.startswith("through GSE1_b: one block; same counts")
    assert leak.confidence == "likely"


@pytest.mark.parametrize(
    "text",
    [
        "part,id\ntrain,GSE1_a\ntest,GSE1_b\n",
        "# a comment\n,image,Fold,age\n0,img/GSE1_a.png,1,3\n1,img/GSE1_b.png,2,4\n",
        "GSE1_a.h5ad;0\nGSE1_b.h5ad;1\n",
        "set\tslide\nx\tgse1_a\ny\tGSE1_b_count.csv\n",
        "split,spot\na,GSE1_a_ACGTACGTACGTACGT-1\nb,GSE1_b_10x13\na,GSE1_a_10x14\n",
        json.dumps({"train": ["GSE1_a"], "test": ["GSE1_b"]}),
        json.dumps({"GSE1_a": "train", "GSE1_b": "test"}),
        "name,sub_split\nNCBI7,a\nGSE1_b,b\n",
    ],
)
def test_tables_of_all_kinds_are_read(tmp_path, text):
    found = [relation for relation, _, _ in leaks(write(tmp_path, text), by="block")]
    assert found == ["same_block"]


def test_columns_can_be_named(tmp_path):
    path = write(tmp_path, "s1,s2,mine\nGSE1_a,GSE2_c,x\nGSE1_b,GSE2_d,y\n")
    assert leaks(path, slide="s1", part="mine", by="block") == [("same_block", "GSE1_a", "GSE1_b")]
    assert leaks(path, slide="s2", part="mine", by="block") == []
    with pytest.raises(ConfigError, match="no column 's3', only s1, s2, mine"):
        leaks(path, slide="s3")


def test_a_list_without_parts_is_held_against_all_other_slides(tmp_path):
    path = write(tmp_path, "GSE1_a\nGSE2_c\nLone.1+x\n", "train.txt")
    assert leaks(path, by="patient") == [
        ("same_section", "GSE1_b", "GSE2_c"),
        ("same_block", "GSE1_a", "GSE1_b"),
    ]
    assert leaks(write(tmp_path, "Lone.1+x\n", "lone.txt")) == []


def test_files_of_a_folder_are_parts(tmp_path):
    folder = tmp_path / "splits"
    folder.mkdir()
    write(folder, "sample_id,patches_path\nGSE1_a,x.h5\n", "train_0.csv")
    write(folder, "sample_id,patches_path\nGSE1_b,y.h5\n", "test_0.csv")
    found = find_leaks(folder, SLIDES, FOUND)
    assert [(leak.part_a, leak.part_b) for leak in found.leaks] == [("train_0", "test_0")]


def test_one_slide_in_two_parts_under_two_names(tmp_path):
    path = write(
        tmp_path, "x,part\nNCBI7,a\nGSE1_a,b\nTENX9,b\nHuman_Brain_e,a\nGSE2_c,c\nGSE2_c,d\n"
    )
    found = [leak for leak in find_leaks(path, SLIDES, FOUND).leaks if leak.relation == SAME_SLIDE]
    assert {(leak.slide_a, leak.slide_b, leak.confidence) for leak in found} == {
        ("HEST-1k:NCBI7", "GSE1_a", "certain"),
        ("Human_Brain_e", "HEST-1k:TENX9", "possible"),
        ("GSE2_c", "GSE2_c", "certain"),
    }


def test_a_split_of_ours_is_held_to_what_it_promises(tmp_path):
    from st1k4m.collection import tables
    from st1k4m.collection.make_splits import split_slides

    rows = [
        {"slide": name, "study": name[:4], "patient": name, "block": name, "spots": "1"}
        for name in SLIDES
    ]
    for by in ("study", "patient", "block", "section"):
        split = split_slides(rows, FOUND, SplitOptions(by=by, folds=2, stratify=()))
        path = tmp_path / f"{by}.tsv"
        lines = [
            {"slide": name, "part": split.part[name], "group": split.group[name]} for name in SLIDES
        ]
        tables.write_table(path, ("slide", "part", "group"), lines, split.head)
        found = find_leaks(path, SLIDES, FOUND)
        assert (found.level, found.leaks) == (by, [])


def test_unknown_names_are_told(tmp_path):
    path = write(tmp_path, "slide,part\nGSE1_a,train\nnonsense,test\n")
    found = find_leaks(path, SLIDES, FOUND)
    assert found.leaks == []
    assert "1 names are not in the catalogue: nonsense" in found.describe()
    with pytest.raises(ConfigError, match="names no slide of the catalogue"):
        find_leaks(write(tmp_path, "a,b\n1,2\n"), SLIDES, FOUND)
    with pytest.raises(ConfigError, match="cannot be read"):
        find_leaks(tmp_path / "absent.csv", SLIDES, FOUND)


def test_the_longest_name_wins(tmp_path):
    names = Names(SLIDES)
    assert names.find("Human_Brain_e2_ACGT-1") == "Human_Brain_e2"
    assert names.find("Human_Brain_e_ACGT-1") == "Human_Brain_e"
    assert names.find("Lone.1+x") == "Lone.1+x"
    assert names.find("Human_Brain") is None
    read = read_slide_list(write(tmp_path, "\n".join(SLIDES)), names)
    assert read.parts == {"listed": SLIDES}
