"""Names of genes: what is dropped, what a table says, and lists of genes from files."""

import json

import pytest
from st1k4m.collection.gene_names import clean_name, find_repeated, read_list, read_renames
from st1k4m.collection.panel_options import NameOptions
from st1k4m.errors import ConfigError


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("ENSG00000141510.17", "ENSG00000141510"),
        ("ENSMUSG00000064339.1", "ENSMUSG00000064339"),
        ("ENSG00000228572.7_PAR_Y", "ENSG00000228572_PAR_Y"),
        ("ENSG00000141510", "ENSG00000141510"),
        ("RP11-34P13.7", "RP11-34P13.7"),  # a clone, not a version
        ("AC118549.1", "AC118549.1"),
        ("ENSG0000014151.17", "ENSG0000014151.17"),  # ten digits: not an Ensembl id
        ("H2AC.1", "H2AC.1"),
    ],
)
def test_version_of_ensembl_ids_alone(printed, name):
    assert clean_name(printed, NameOptions(drop_version=True), {}) == name
    assert clean_name(printed, NameOptions(), {}) == printed


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("GRCh38_TP53", "TP53"),
        ("GRCh38______TP53", "TP53"),
        ("mm10___Trp53", "Trp53"),
        ("hg19_TP53", "TP53"),
        ("GRCm39_Trp53", "Trp53"),
        ("mm10_mt-Nd1", "mt-Nd1"),
        ("MT_ND1", "MT_ND1"),
        ("HLA_A", "HLA_A"),
        ("mm10_", "mm10_"),
        ("TP53", "TP53"),
    ],
)
def test_prefix_of_a_genome_alone(printed, name):
    assert clean_name(printed, NameOptions(drop_species=True), {}) == name


def test_a_table_goes_before_what_is_dropped():
    both = NameOptions(drop_version=True, drop_species=True)
    renames = {"ENSG00000141510": "TP53", "ENSG00000012048.2": "BRCA1", "BLANK_1": ""}
    assert clean_name("GRCh38_ENSG00000141510.17", both, renames) == "TP53"
    assert clean_name("ENSG00000012048.2", both, renames) == "BRCA1"
    assert clean_name("ENSG00000012048.5", both, renames) == "ENSG00000012048"
    assert clean_name("BLANK_1", both, renames) == ""


def test_tables_of_names(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("# mine\nname\tprinted\tnote\nTP53\tENSG1\tx\n\nA\tB\t\n\tBLANK\t\n")
    assert read_renames(path) == {"ENSG1": "TP53", "B": "A", "BLANK": ""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("printed,name\nA,B\n", "the header row lacks name and printed"),
        ("printed\tname\nA\tB\nA\tC\n", "'A' has two names, 'B' and 'C'"),
        ("", "the header row lacks"),
    ],
)
def test_wrong_tables_of_names_say_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "names.tsv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_renames(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_renames(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\nTP53\nBRCA1\n\nERBB2\n",
        "\ufeffTP53\r\nBRCA1\r\nERBB2\r\n",
        json.dumps({"genes": ["TP53", "BRCA1", "ERBB2"]}),
        json.dumps(["TP53", "BRCA1", "ERBB2"]),
        "# Panel x\nrank\tgene\tslides\n1\tTP53\t3\n2\tBRCA1\t3\n3\tERBB2\t1\n",
    ],
)
def test_lists_of_genes(tmp_path, text):
    path = tmp_path / "genes"
    path.write_bytes(text.encode())
    assert read_list(path) == ["TP53", "BRCA1", "ERBB2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# none\n", "the file has no gene"),
        ("A\nB\nA\n", "listed twice: A"),
        ("{not", "not valid JSON"),
        ('{"names": []}', "expected a list of names"),
    ],
)
def test_wrong_lists_say_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "genes"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_list(path)


def test_repeated_names():
    assert find_repeated(["A", "B", "A", "", "", "C", "A"]) == {"A"}
