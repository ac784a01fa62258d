"""Labels of spots and citations of studies."""

import pytest
from st1k4m.errors import SlideError
from st1k4m.join.annotation import read_annotation
from st1k4m.source.bibliography import citations


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "s_1_anno.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


@pytest.mark.parametrize(
    "text",
    [
        "\tV2\ns_1_1x1\ttumour\ns_1_2x1\timmune, dense\n",
        ',V2\ns_1_1x1,tumour\ns_1_2x1,"immune, dense"\n',
        'V2\ns_1_1x1,tumour\ns_1_2x1,"immune, dense"\n',
        '"","V1","V2"\n"1","s_1_1x1","tumour"\n"2","s_1_2x1","immune, dense"\n',
        'V1\tV2\n1\ts_1_1x1\ttumour\n2\ts_1_2x1\t"immune, dense"\n',
        "\tx\tV2\n1x1\t5\ttumour\n2x1\t6\timmune, dense\n",
        b"\xef\xbb\xbf\tV2\r\ns_1_1x1\ttumour \r\n\r\ns_1_2x1\timmune,  dense",
    ],
    ids=["tab", "comma", "R", "R with ids in V1", "R tab", "barcodes", "BOM CRLF"],
)
def test_labels_are_read_by_full_spot_id(write, text):
    assert read_annotation(write(text)) == {"s_1_1x1": "tumour", "s_1_2x1": "immune, dense"}


def test_only_line_ends_of_the_file_end_a_row(write):
    text = '\tV2\ns_1_1x1\tin\u2028situ\x0btumour\ns_1_2x1\t"two\nlines"\n'
    assert read_annotation(write(text)) == {"s_1_1x1": "in situ tumour", "s_1_2x1": "two lines"}


@pytest.mark.parametrize("label", ["undetermined", "Exclude", "", "Undetermined", '""', "NA"])
def test_no_label_is_none(write, label):
    assert read_annotation(write(f"\tV2\ns_1_1x1\t{label}\ns_1_2x1\tfat\n")) == {"s_1_2x1": "fat"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column V2, found none"),
        ("spot,label\na,b\n", "line 1: no column V2, found 'spot', 'label'"),
        ("\tV2\ns_1_1x1\tfat\ns_1_2x1\n", "line 3: 1 fields, the header has 2"),
        ("\tV2\ns_1_1x1\tfat\ns_1_1x1\tskin\n", "line 3: spot s_1_1x1 is 'skin' here, 'fat' above"),
        ('\tV2\n\ns_1_1x1\t"a\nb"\ns_1_2x1\n', "line 5: 1 fields, the header has 2"),
        (b"\tV2\n\xff\n", "byte 4 is not UTF-8"),
        ("\tV2\n" + "x" * 200_000, "field larger than field limit"),
    ],
)
def test_what_is_no_annotation_is_said_with_its_line(write, text, said):
    with pytest.raises(SlideError) as error:
        read_annotation(write(text))
    assert said in error.value.what
    assert error.value.slide == "s_1"


def test_the_demos_labels_name_spots_of_its_counts(demo_folder):
    labels = read_annotation(demo_folder / "annotation/Demo_Breast_ST_anno.csv")
    with open(demo_folder / "ST/gene_exp/Demo_Breast_ST_count.csv") as file:
        spots = {line.split(",", 1)[0] for line in file}
    assert labels
    assert len(labels.keys() & spots) > 0.9 * len(labels)


BIB = """
@article{Ji2020,
  title = {Multimodal {@}nalysis},
  pmid = {32579974},
}
@article{37038084, title={A}, year={2023} }
@misc{other, PMID = "31835037"}
"""


def test_studies_of_the_selection_are_cited_once():
    text = citations(BIB, ["32579974,38037084", "32579974", "", "37038084"])
    assert text.count("@article") == 2
    assert "31835037" not in text
    assert text.endswith("% PubMed 38037084: not in the dataset's bibliography\n\n")


def test_nothing_to_cite_is_an_empty_file():
    assert citations(BIB, ["", ""]) == citations("", []) == ""
