"""The slide table: made from a folder, reconciled, written, read, selected from."""

import os
import shutil
from collections import Counter

import pytest
from st1k4m.demo import dataset as demo
from st1k4m.errors import CatalogueError
from st1k4m.source import catalogue, open_dataset, selection
from st1k4m.source.assemble import Entry, assemble

HEADER = "slide,species,tissue,pmid,title,abstract,keywords,involve_cancer,tech,spot_num,gene_num"


def meta(*rows, header=HEADER):
    """A meta table: each row a dict or a line of text."""
    lines = [header]
    for row in rows:
        if isinstance(row, dict):
            given = {"species": "human", "tissue": "brain", "tech": "ST", **row}
            row = ",".join(given.get(column, "") for column in header.split(","))
        lines.append(row)
    return "\n".join(lines).encode() + b"\n"


def files_of(slide, tech="ST", counts=1000):
    """A listing of the three files of a slide."""
    return {
        f"{tech}/image/{slide}.png": Entry(500),
        f"{tech}/gene_exp/{slide}_count.csv": Entry(counts),
        f"{tech}/coord/{slide}_coord.csv": Entry(300),
    }


def assembled(content, *listings):
    listing = {path: entry for part in listings for path, entry in part.items()}
    return assemble("/data", "", listing, "meta/m.csv", content)


def make_folder(folder, content, listing, table="meta/meta_all_gene.csv"):
    for path, entry in {**listing, table: Entry(0)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"0" * entry.bytes)
    (folder / table).write_bytes(content)
    return folder


# --- the published table ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(published_meta):
    return assembled(published_meta.read_bytes())


def test_published_table_has_its_slides_and_spots(published):
    rows = published.slides.values()
    spots = Counter()
    for row in rows:
        spots[row.tech] += row.spots
    assert len(rows) == 1149
    assert spots == {"ST": 60_145, "Visium": 2_336_306, "VisiumHD": 1_896_744}
    assert sum(spots.values()) == 4_293_195
    assert Counter(row.tech for row in rows) == {"ST": 151, "Visium": 994, "VisiumHD": 4}


def test_published_table_has_its_species_and_tissues(published):
    rows = published.slides.values()
    assert Counter(row.species for row in rows) == {
        "human": 672,
        "mouse": 419,
        "plant": 19,
        "rattus norvegicus": 17,
        "human & mouse": 9,
        "pig": 5,
        "fish": 4,
        "frog": 3,
        "ambystoma mexicanum": 1,
    }
    assert len({row.tissue for row in rows}) == 50
    assert sum(not row.pmid for row in rows) == 296
    assert sum("," in row.pmid for row in rows) == 40


def test_published_names_survive_as_they_are(published):
    names = set(published.slides)
    assert "Human_Heart_Asp_12122019_ST_ST_Sample_4.5-5PCW_1" in names
    assert "Mouse_Brain+Lung_10X_02212023_Visium_1mm_edge" in names
    assert {"Mouse_Brain_10X_03292024_VIsiumHD", "Mouse_Intenstine_10X_03252024_VisiumHD"} <= names
    assert sum("." in name for name in names) == 13
    assert sum("+" in name for name in names) == 3


def test_published_table_survives_writing_and_reading(published, tmp_path):
    catalogue.write(published, tmp_path / "catalogue.tsv")
    assert catalogue.read(tmp_path / "catalogue.tsv") == published


# --- a folder --------------------------------------------------------------------------------


def test_folder_gives_a_row_per_slide_with_its_files(make_dataset):
    folder = make_dataset()
    found = open_dataset.from_folder(folder)
    assert found.dataset == os.path.realpath(folder)
    assert list(found.slides) == ["Demo_A", "Demo_B"]
    row = found.slides["Demo_A"]
    assert (row.tech, row.status, row.image_sha256) == ("Visium", "ok", "")
    for kind in ("image", "counts", "coord"):
        place = found.path("Demo_A", kind)
        assert os.path.getsize(place) == getattr(row, f"{kind}_bytes") > 0


def test_real_slides_have_nothing_odd(real_slides):
    found = open_dataset.from_folder(real_slides)
    assert {row.status for row in found.slides.values()} == {"ok"}
    assert sum(row.spots for row in found.slides.values()) == 3320


def test_folder_is_not_opened_beside_the_table(tmp_path):
    folder = make_folder(tmp_path, meta({"slide": "a"}), files_of("a"))
    for path in folder.rglob("*_count.csv"):
        path.unlink()
        path.symlink_to("/proc/self/mem")  # any read of it fails
    assert open_dataset.from_folder(folder).slides["a"].status == "ok"


def test_checksums_are_there_on_request(make_dataset):
    found = open_dataset.from_folder(make_dataset(), checksums=True)
    row = found.slides["Demo_A"]
    assert len(row.image_sha256) == len(row.counts_sha256) == len(row.coord_sha256) == 64


def test_newer_published_table_is_preferred(tmp_path):
    make_folder(tmp_path, meta({"slide": "old"}), files_of("a"))
    make_folder(tmp_path, meta({"slide": "a"}), {}, "meta/meta_all_gene02122025.csv")
    found = open_dataset.from_folder(tmp_path)
    assert "old" not in found.slides
    assert found.notes == ["meta table meta/meta_all_gene02122025.csv"]


def test_any_single_table_will_do(tmp_path):
    make_folder(tmp_path, meta({"slide": "a"}), files_of("a"), "meta/mine.csv")
    assert list(open_dataset.from_folder(tmp_path).slides) == ["a"]
    make_folder(tmp_path, meta({"slide": "b"}), {}, "meta/other.csv")
    with pytest.raises(CatalogueError, match=r"found meta/mine.csv, meta/other.csv"):
        open_dataset.from_folder(tmp_path)


def test_no_folder_and_no_table_are_said(tmp_path):
    with pytest.raises(CatalogueError, match="there is no folder"):
        open_dataset.from_folder(tmp_path / "nowhere")
    with pytest.raises(CatalogueError, match="expected one meta table"):
        open_dataset.from_folder(tmp_path)


def test_a_dangling_link_is_a_missing_file(tmp_path):
    folder = make_folder(tmp_path, meta({"slide": "a"}), files_of("a"))
    image = folder / "ST/image/a.png"
    image.unlink()
    image.symlink_to("gone.png")
    row = open_dataset.from_folder(folder).slides["a"]
    assert (row.status, row.image) == ("missing_file", "")


# --- the meta table --------------------------------------------------------------------------


def test_quoted_line_breaks_do_not_split_a_row():
    found = assembled(meta('"a",human,brain,1,"A\ntitle\twith breaks",x,,True,ST,5,7'))
    row = found.slides["a"]
    assert row.title == "A title with breaks"
    assert (row.spots, row.genes, row.involve_cancer) == (5, 7, "True")


def test_byte_order_mark_crlf_and_a_missing_last_newline_are_fine():
    content = b"\xef\xbb\xbf" + meta({"slide": "a"}, {"slide": "b"}).replace(b"\n", b"\r\n")
    assert list(assembled(content.rstrip()).slides) == ["a", "b"]


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", ".hidden", "-rf", "a b", "a\tb", "a{b}", "", "a\\b", "a,b", "x" * 201, "a\x01"],
)
def test_a_name_that_is_no_file_name_is_refused_with_its_row(name):
    content = meta('"fine",human,brain,,"two\nlines",,,,ST,,', f'"{name}",human,brain,,,,,,ST,,')
    with pytest.raises(CatalogueError, match=r"meta/m\.csv has invalid rows(.|\n)*line 4: slide"):
        assembled(content)


def test_all_bad_rows_are_named_at_once():
    content = meta({"slide": "a b"}, {"slide": "c", "tech": "Slide-seq"}, "d,human")
    with pytest.raises(CatalogueError) as error:
        assembled(content)
    message = str(error.value)
    assert "line 2: slide 'a b'" in message
    assert "line 3: tech 'Slide-seq' is not one of ST, Visium, VisiumHD" in message
    assert "line 4: 2 fields, the header has 11" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column slide, tech, species, tissue"),
        (b"slide,species\na,human\n", "no column tech, tissue"),
        (meta(), "has no rows"),
        (meta('"a,human'), "line 2"),
        (b"slide,tech\n\xff\xfe\n", "byte 11 is not UTF-8"),
    ],
)
def test_a_table_that_is_none_is_said(content, said):
    with pytest.raises(CatalogueError, match=said):
        assembled(content)


# --- what is odd -----------------------------------------------------------------------------


def test_a_slide_without_files_stays_with_the_file_named():
    listing = files_of("a")
    del listing["ST/image/a.png"]
    row = assembled(meta({"slide": "a"}), listing).slides["a"]
    assert (row.status, row.reason) == ("missing_file", "no ST/image/a.png")


def test_files_without_a_row_are_listed_and_not_built():
    found = assembled(meta({"slide": "a"}), files_of("a"), files_of("b", "Visium"))
    assert (found.slides["b"].status, found.slides["b"].tech) == ("no_row", "Visium")
    selected, status = selection.select(found)
    assert selected == ["a"]
    assert status["b"] == ("not_selected", "files without a row in the meta table")
    assert selection.select(found, {"slides": ["b"]})[0] == ["b"]


def test_names_that_differ_in_case_are_matched_and_said():
    found = assembled(meta({"slide": "Slide_A"}), files_of("slide_a"))
    row = found.slides["Slide_A"]
    assert row.counts == "ST/gene_exp/slide_a_count.csv"
    assert row.status == "other_case"
    assert "counts is ST/gene_exp/slide_a_count.csv" in row.reason
    assert list(found.slides) == ["Slide_A"]


def test_two_slides_that_differ_in_case_keep_their_own_files():
    found = assembled(meta({"slide": "a"}, {"slide": "A"}), files_of("a"), files_of("A"))
    assert found.slides["a"].image == "ST/image/a.png"
    assert found.slides["A"].image == "ST/image/A.png"
    assert {row.status for row in found.slides.values()} == {"other_case"}


def test_a_slide_does_not_take_the_files_of_another_in_other_case():
    found = assembled(meta({"slide": "a"}, {"slide": "A"}), files_of("a"))
    assert (found.slides["A"].status, found.slides["A"].image) == ("missing_file", "")


def test_a_file_in_another_technologys_folder_is_used_and_said():
    row = assembled(meta({"slide": "a"}), files_of("a", "Visium")).slides["a"]
    assert (row.status, row.coord) == ("other_folder", "Visium/coord/a_coord.csv")


def test_a_repeated_row_is_said_and_the_first_counts():
    row = assembled(meta({"slide": "a", "tissue": "skin"}, {"slide": "a"}), files_of("a")).slides[
        "a"
    ]
    assert (row.tissue, row.status, row.reason) == ("skin", "repeated_row", "rows at lines 2 and 3")


@pytest.mark.parametrize(
    ("size", "status"), [(2100, "ok"), (900, "declared"), (99_000, "declared")]
)
def test_declared_numbers_are_held_to_the_size_of_the_file(size, status):
    content = meta({"slide": "a", "spot_num": "10", "gene_num": "100"})
    assert assembled(content, files_of("a", counts=size)).slides["a"].status == status


def test_a_declared_number_that_is_none_is_said():
    row = assembled(meta({"slide": "a", "spot_num": "many"}), files_of("a")).slides["a"]
    assert (row.spots, row.status, row.reason) == (0, "declared", "spot_num 'many' is not a number")


def test_files_of_no_slide_are_counted_and_named(tmp_path):
    listing = {**files_of("a"), "ST/image/notes.txt": Entry(1), "todo.md": Entry(1)}
    folder = make_folder(tmp_path, meta({"slide": "a"}), listing)
    (folder / "aux" / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    found = open_dataset.from_folder(folder)
    assert found.notes[1] == (
        "3 files belong to no slide (. 1, ST/image 1, aux 1), "
        "for example ST/image/notes.txt, aux/, todo.md"
    )


def test_annotations_find_their_slides():
    listing = {
        **files_of("a"),
        "annotation/A_anno.csv": Entry(9),
        "annotation/b_anno.csv": Entry(9),
    }
    found = assembled(meta({"slide": "a"}), listing)
    assert found.slides["a"].annotation == "annotation/A_anno.csv"
    assert found.path("a", "annotation") == "/data/annotation/A_anno.csv"
    assert "annotation/b_anno.csv" in found.notes[1]


def test_summary_says_everything_once():
    content = meta({"slide": "a", "spot_num": "3"}, *[{"slide": f"b{n}"} for n in range(7)])
    lines = open_dataset.summary(assembled(content, files_of("a"), {"x.txt": Entry(1)}))
    assert lines[0].startswith("/data: 8 slides, 3 spots declared; 1 image, 1 counts, 1 coord")
    assert "7 missing_file" in lines[2]
    assert "and 2 more" in lines[2]
    assert lines[-1].startswith("  1 files belong to no slide")


# --- reading, loading ------------------------------------------------------------------------


def test_text_of_the_dataset_cannot_break_the_table(tmp_path):
    content = meta('a,human,"br\tain\r\n# dataset: evil",,"t\x0bi\x85t\u2028le",,,,ST,,')
    found = assembled(content, files_of("a"), {"ST/image/odd\nname\udcff\t.txt": Entry(1)})
    catalogue.write(found, tmp_path / "c.tsv")
    assert catalogue.read(tmp_path / "c.tsv") == found
    assert len((tmp_path / "c.tsv").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("\tST\t", "\t"), r"line 5: 31 fields where 32 are expected"),
        (lambda text: text.replace("\t500\t", "\tlots\t"), r"line 5: .*'lots'"),
        (
            lambda text: text.replace("\na\t", "\n../a\t"),
            r"line 5: '../a' is not a plain file name",
        ),
        (lambda text: text.replace("tissue", "organ"), r"line 4: not the columns of this version"),
        (lambda text: "", "is not a catalogue"),
    ],
)
def test_a_damaged_catalogue_is_refused_with_its_line(tmp_path, damage, said):
    path = tmp_path / "c.tsv"
    catalogue.write(assembled(meta({"slide": "a"}), files_of("a")), path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(CatalogueError, match=said):
        catalogue.read(path)


def test_loading_makes_it_once(make_dataset, tmp_path):
    folder, path, told = make_dataset(), tmp_path / "resources/catalogue.tsv", []
    made = open_dataset.load(str(folder), path, tell=told.append)
    assert told[0].startswith(f"{folder}: 2 slides")
    shutil.rmtree(folder)
    assert open_dataset.load(str(folder), path, tell=told.append) == made
    assert len(told) == len(open_dataset.summary(made))


def test_refresh_makes_it_anew(tmp_path):
    folder = make_folder(tmp_path / "data", meta({"slide": "a"}), files_of("a"))
    open_dataset.load(str(folder), tmp_path / "c.tsv")
    make_folder(folder, meta({"slide": "a"}, {"slide": "b"}), files_of("b"))
    assert list(open_dataset.load(str(folder), tmp_path / "c.tsv").slides) == ["a"]
    assert list(open_dataset.load(str(folder), tmp_path / "c.tsv", refresh=True).slides) == [
        "a",
        "b",
    ]


def test_another_dataset_is_not_mixed_in(tmp_path):
    one = make_folder(tmp_path / "one", meta({"slide": "a"}), files_of("a"))
    two = make_folder(tmp_path / "two", meta({"slide": "b"}), files_of("b"))
    open_dataset.load(str(one), tmp_path / "c.tsv")
    with pytest.raises(
        CatalogueError, match=r"one, not of .*two(.|\n)*--directory(.|\n)*refresh=true"
    ):
        open_dataset.load(str(two), tmp_path / "c.tsv")
    assert list(open_dataset.load(str(two), tmp_path / "c.tsv", refresh=True).slides) == ["b"]


def test_one_folder_has_one_name(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "data", meta({"slide": "a"}), files_of("a"))
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    names = ["data", "./data/", "link", str(folder), "../" + tmp_path.name + "/data"]
    assert {open_dataset.resolve(name, tmp_path) for name in names} == {str(folder)}


@pytest.mark.parametrize(
    "dataset", ["", "a\nb", "hf://jiawennnn/STimage-1K4M", "hf://datasets/x", "https://hf.co/x"]
)
def test_what_is_no_dataset_is_said(dataset, tmp_path):
    with pytest.raises(CatalogueError, match="hf://datasets/OWNER/NAME@REVISION"):
        open_dataset.resolve(dataset, tmp_path)


def test_a_catalogue_of_a_commit_serves_the_branch_and_the_commit():
    commit = "0123456789" * 4
    table = catalogue.Catalogue("hf://datasets/o/n@main", commit, {})
    assert catalogue.matches("hf://datasets/o/n@main", table)
    assert catalogue.matches(f"hf://datasets/o/n@{commit}", table)
    assert not catalogue.matches("hf://datasets/o/n@other", table)
    assert not catalogue.matches(f"hf://datasets/o/other@{commit}", table)
    assert not catalogue.matches("/data", table)


def test_the_demo_is_generated_once_and_whole(tmp_path, monkeypatch):
    made = []
    monkeypatch.chdir(tmp_path)

    def make_demo(folder):
        made.append(folder)
        make_folder(tmp_path / folder, meta({"slide": "a"}), files_of("a"))

    monkeypatch.setattr(demo, "make_demo", make_demo)
    for _ in range(2):
        found = open_dataset.load("demo", "resources/catalogue.tsv", refresh=True)
    assert made == ["resources/demo.part"]
    assert (found.dataset, found.path("a", "image")) == ("demo", "resources/demo/ST/image/a.png")


# --- selecting -------------------------------------------------------------------------------


@pytest.fixture
def three():
    content = meta(
        {"slide": "a", "tissue": "brain"},
        {"slide": "b", "tissue": "skin", "tech": "Visium"},
        {"slide": "c", "tissue": "skin", "species": "mouse"},
    )
    return assembled(content, files_of("a"), files_of("b", "Visium"), files_of("c"))


@pytest.mark.parametrize(
    ("wanted", "selected"),
    [
        ({}, ["a", "b", "c"]),
        ({"tech": ["ST"]}, ["a", "c"]),
        ({"tissue": ["skin"], "species": ["human"]}, ["b"]),
        ({"tech": [], "slides": ["c", "a"]}, ["a", "c"]),
    ],
)
def test_select_narrows(three, wanted, selected):
    assert selection.select(three, wanted)[0] == selected


def test_every_slide_has_a_status_and_reason(three):
    _, status = selection.select(three, {"tech": ["ST"]}, {"a": "folded tissue"})
    assert status == {
        "a": ("excluded", "folded tissue"),
        "b": ("not_selected", "tech not among those selected"),
        "c": ("selected", ""),
    }


def test_unknown_names_are_listed_all_with_what_is_close(three):
    with pytest.raises(ValueError) as error:
        selection.select(three, {"tech": ["visium"], "tissue": ["brian"]}, {"d": "x"})
    message = str(error.value)
    assert "select: tech: 'visium' is not in the catalogue; the catalogue has Visium" in message
    assert "select: tissue: 'brian' is not in the catalogue; the catalogue has brain" in message
    assert "exclude: 'd' is not in the catalogue" in message


def test_nothing_left_is_said(three):
    with pytest.raises(ValueError, match="leave no slide"):
        selection.select(three, {"tech": ["Visium"], "tissue": ["brain"]})
