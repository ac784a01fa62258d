"""Counts: exactly the file's numbers, or a refusal that says where and why."""

import io
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from benchmarks import measure
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from places import SCRIPTS
from st1k4m.errors import SlideError
from st1k4m.expression import dense_csv
from st1k4m.expression.dense_csv import read_counts

REAL = (
    "ST/gene_exp/Human_Breast_Andersson_10142021_ST_C2",
    "ST/gene_exp/Mouse_OlfactoryBulb_STUtility_ST2K_MOB1",
    "Visium/gene_exp/Mouse_Brain_10X_06232020_Visium_Coronal_squidpycrop",
    "Visium/gene_exp/Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes",
    "VisiumHD/gene_exp/Mouse_VisiumIO_VisiumHD_10bins_zerocounts",
)


@pytest.fixture
def read(tmp_path):
    """Write text to a count file of slide S and read it."""

    def write_and_read(text, threads=1):
        path = tmp_path / "S_count.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_counts(path, threads)

    return write_and_read


@pytest.fixture
def refusal(read):
    """Return what is said when text is refused."""

    def refuse(text):
        with pytest.raises(SlideError) as raised:
            read(text)
        assert raised.value.slide == "S"
        assert raised.value.hint
        return raised.value.what

    return refuse


def rows_of(found):
    return found.matrix.toarray().tolist()


# --- The same numbers as pandas


@pytest.mark.parametrize("slide", REAL)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_real_slide_has_the_numbers_that_pandas_reads(real_slides, slide, threads):
    path = real_slides / f"{slide}_count.csv"
    found, expected = read_counts(path, threads), pd.read_csv(path, index_col=0)
    assert (found.matrix.toarray() == expected.to_numpy()).all()
    assert found.spots == expected.index.tolist()
    assert found.genes == expected.columns.tolist()
    assert not found.warnings


STYLES = (
    "{}",
    "{}.0",
    "{}.",
    "{}.000",
    "00{}",
    "+{}",
    " {}",
    "{} ",
    '"{}"',
    '"{}.0"',
    "{}e0",
    "{}0E-1",
    ".{}e{digits}",
)


def printed(number, style):
    return style.format(number, digits=len(str(number)))


names = st.text(
    st.one_of(
        st.sampled_from(',"\n ;_-x+.1'), st.characters(codec="utf-8", exclude_characters="\r\0")
    ),
    min_size=1,
    max_size=8,
).filter(lambda name: name.strip())


def quoted(name, always):
    if always or any(mark in name for mark in ',"\n'):
        return '"' + name.replace('"', '""') + '"'
    return name


@st.composite
def tables(draw):
    """Draw a table as text, and what it says: text, spots, genes, values."""
    genes = draw(st.lists(names, min_size=1, max_size=6))
    # Runs of many plain cells, as they occur in real files, between the odd ones.
    genes += [f"g{number}" for number in range(draw(st.integers(0, 80)))]
    spots = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most = draw(st.sampled_from([1, 9, 12, 1000, 2**31 - 1]))
    values = random.integers(0, most, (len(spots), len(genes)), endpoint=True)
    values[random.random(values.shape) < draw(st.sampled_from([0, 0.5, 0.9, 0.99]))] = 0
    usual = draw(st.sampled_from(STYLES[:2]))
    styles = draw(st.sampled_from([(usual,), STYLES[:2], STYLES]))
    rare = draw(st.sampled_from([0, 0.05, 1]))
    always = draw(st.booleans())
    first = draw(st.sampled_from([[""], ['""'], ["spot"], []]))
    if not first and not genes[0]:
        first = [""]
    lines = [first + [quoted(gene, always) for gene in genes]]
    for spot, row in zip(spots, values.tolist(), strict=True):
        picks = np.where(random.random(len(row)) < rare, random.integers(0, len(styles)), 0)
        cells = [printed(v, styles[pick]) for v, pick in zip(row, picks, strict=True)]
        lines.append([quoted(spot, always), *cells])
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    text = line_end.join(",".join(line) for line in lines)
    text += draw(st.sampled_from(["", line_end, line_end * 3]))
    text = draw(st.sampled_from(["", "\ufeff"])) + text
    return text, spots, genes, values


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(table=tables(), block=st.integers(1, 400), threads=st.integers(1, 3))
@example((',a\n"x\ny\nz",1\n"p\nq",2\n', ["x\ny\nz", "p\nq"], ["a"], [[1], [2]]), 9, 2)
def test_whatever_pandas_reads_right_is_read_the_same(tmp_path, monkeypatch, table, block, threads):
    text, spots, genes, values = table
    path = tmp_path / "S_count.csv"
    path.write_bytes(text.encode())
    monkeypatch.setattr(dense_csv, "_BLOCK", block)
    found = read_counts(path, threads)
    assert found.spots == spots
    assert found.genes == genes
    assert (found.matrix.toarray() == values).all()
    pandas = pd.read_csv(
        io.BytesIO(text.encode()), index_col=0, dtype={0: str}, na_filter=False,
        float_precision="round_trip",
    )  # fmt: skip
    assert (found.matrix.toarray() == pandas.to_numpy(float)).all()


def test_both_ways_to_print_a_count_and_mixtures_of_them(read):
    wide = ["0", "0.0", "3", "12.0", "2147483647", "7.0"] * 40
    found = read("," + ",".join(f"g{n}" for n in range(240)) + "\ns," + ",".join(wide) + "\n")
    assert rows_of(found) == [[int(float(cell)) for cell in wide]]


def test_names_that_occur_twice_are_kept_as_printed(read):
    assert read(",A,A,B\ns,1,2,3\n").genes == ["A", "A", "B"]


def test_names_may_hold_commas_quotes_and_line_breaks(read):
    found = read(',"a,b","c""d"\n"s\n1",1,2\n"s,2",3,4\n')
    assert (found.spots, found.genes) == (["s\n1", "s,2"], ["a,b", 'c"d'])


@pytest.mark.parametrize("header", [",A,B", "spot,A,B", "A,B", '"",A,B'])
def test_the_first_column_may_have_a_name_an_empty_one_or_none(read, header):
    found = read(f"{header}\ns,1,2\nt,3,4\n")
    assert (found.genes, rows_of(found)) == (["A", "B"], [[1, 2], [3, 4]])


def test_a_header_without_a_first_column_is_told(read):
    (warning,) = read("A,B\ns,1,2\n").warnings
    assert "has no name for the first column" in warning
    assert "'A', is taken for a gene" in warning
    assert not read("spot,A,B\ns,1,2\n").warnings


@pytest.mark.parametrize("name", ["spot", "Barcode", "ID", "index", "Unnamed: 0"])
def test_a_header_that_lost_a_gene_is_refused(refusal, name):
    what = refusal(f"\n{name},A\ns,1,2\n")
    assert what.startswith(f"S_count.csv, line 2: the header names its first column, {name!r}")
    assert "2 names where the next line has 3 fields" in what


def test_byte_order_mark_crlf_and_empty_lines_are_passed_over(read):
    found = read("\ufeff,A\r\n\r\ns,1\r\n\r\nt,2\r\n\r\n")
    assert (found.spots, found.genes, rows_of(found)) == (["s", "t"], ["A"], [[1], [2]])


def test_a_missing_last_line_end_is_fine_but_told(read):
    found = read(",A\ns,1\nt,2")
    assert rows_of(found) == [[1], [2]]
    assert "may be cut off" in found.warnings[0]


def test_the_matrix_is_int32_csr_in_order_without_stored_zeros(read):
    matrix = read(",A,B,C\ns,0,2,1\nt,0.0,-0,0e3\n").matrix
    assert (matrix.format, matrix.dtype, matrix.indices.dtype) == ("csr", np.int32, np.int32)
    assert (matrix.data.tolist(), matrix.indices.tolist()) == ([2, 1], [1, 2])
    assert matrix.indptr.tolist() == [0, 2, 2]
    assert matrix.data.base.size == 2, "no larger array is held behind it"


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("block", [50, 1000, 10**6])
def test_neither_threads_nor_blocks_change_anything(read, monkeypatch, threads, block):
    random = np.random.default_rng(1)
    values = random.poisson(0.4, (300, 70)) * random.integers(1, 40, (300, 70))
    lines = [f"s{n},{','.join(f'{v}.0' for v in row)}" for n, row in enumerate(values)]
    text = "," + ",".join(f"g{n}" for n in range(70)) + "\n" + "\n".join(lines) + "\n"
    monkeypatch.setattr(dense_csv, "_BLOCK", block)
    found = read(text, threads)
    assert (found.matrix.toarray() == values).all()
    assert found.spots == [f"s{n}" for n in range(300)]


# --- Refused, and said where


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("-3", "is negative"),
        ("-0.5", "is negative"),
        ("2.5", "is not a whole number"),
        ("1e-1", "is not a whole number"),
        ("2147483648", "is larger than 2,147,483,647"),
        ("3e9", "is larger than 2,147,483,647"),
        ("99999999999999999999999", "is larger than 2,147,483,647"),
        ("nan", "is not a number"),
        ("NA", "is not a number"),
        ("inf", "is not a number"),
        ("abc", "is not a number"),
        ("0x10", "is not a number"),
        ("1_0", "is not a number"),
        ("1 2", "is not a number"),
        ("1;5", "is not a number"),
        ("\u0663", "is not a number"),
        ("1\0", "is not a number"),
        ("1e99999999999999999999", "is not a usable number"),
        ('"1"\r2', "is not a usable number"),
        ("", "is empty"),
        ('""', "is empty"),
        ("  ", "is empty"),
    ],
)
@pytest.mark.parametrize("zeros", ["0", "0.0"])
def test_a_value_that_is_no_count_is_refused_with_line_column_gene_and_text(
    refusal, cell, why, zeros
):
    cells = [zeros] * 100
    cells[70] = cell
    header = "," + ",".join(f"g{n}" for n in range(100))
    sound = ",".join([zeros] * 100)
    what = refusal(f"{header}\ns,{sound}\n\nt,{','.join(cells)}\nu,{sound}\n")
    assert what.startswith("S_count.csv, line 4: column 72 (gene g70): ")
    assert what.endswith(why)
    assert repr(cell) in what


@pytest.mark.parametrize("number", [15, 16, 17, 31, 32, 33, 64])
@pytest.mark.parametrize("zero", ["0", "0.0"])
def test_a_row_too_short_or_too_long_is_refused_with_both_numbers(refusal, number, zero):
    header = "," + ",".join(f"g{n}" for n in range(number))
    row = ",".join([zero] * number)
    short, long = row.removesuffix(f",{zero}"), f"{row},{zero}"
    what = refusal(f"{header}\ns,{row}\nt,{short}\nu,{row}\n")
    assert what == f"S_count.csv, line 3: spot 't' has {number - 1} values for {number} genes"
    what = refusal(f"{header}\ns,{row}\nt,{long}\nu,{row}\n")
    assert what == f"S_count.csv, line 3: spot 't' has {number + 1} values for {number} genes"


def test_a_file_cut_off_in_a_row_is_refused_wherever_it_is_cut(tmp_path):
    text = ",A,B,C\ns,0.0,1.0,2.0\nt,3.0,4.0,5.0\n"
    path = tmp_path / "S_count.csv"
    for end in range(text.index("t,"), text.rindex(",")):
        path.write_text(text[: end + 1])
        with pytest.raises(SlideError, match=r"line 3.*cut off here|line 3.*is empty"):
            read_counts(path)


def test_a_spot_that_is_there_twice_is_refused_with_both_lines(refusal):
    what = refusal(",A\ns,1\nt,1\n\ns,2\n")
    assert what == "S_count.csv, line 5: spot 's' is on line 2 already"


def test_line_numbers_count_line_breaks_within_quotes(refusal):
    what = refusal(',A\n"s\n1",1\n"t\nu",2\nv,x\n')
    assert what.startswith("S_count.csv, line 6: column 2 (gene A): 'x'")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (",A,B\n", "no spot follows the header of 2 genes"),
        (",A,B", "no spot follows"),
        ("spot\ns\n", "the header has no gene"),
        (",A\n,1\n", "'' is not a spot id"),
        (",A\ns\0,1\n", "is not a spot id"),
        (",A\ns\n", "spot 's' has 0 values for 1 genes"),
        (',A\n"s,1\n', "a quote is opened and never closed"),
        (',A\ns,"1\n', "a quote is opened and never closed"),
        (',"A\ns,1\n', "no spot follows"),
        (",A\rs,1\r", "cannot be read as text"),
        (b",\xff\ns,1\n", "cannot be read as text"),
        (b",A\n\xff,1\n", "cannot be read"),
        (b",A\ns,1\n\xff,1\n", "the spot id cannot be read"),
        (",A\0\ns,1\n", "is not a gene name"),
    ],
)
def test_what_is_no_count_file_is_refused(refusal, text, what):
    assert what in refusal(text)


def test_a_message_stays_short_whatever_it_is_about(refusal):
    long = "x" * 100_000
    for text in (f",A\n{long}\n", f",{long}\ns,{long}\n", f",A\n{long},1\n{long},1\n"):
        assert len(refusal(text)) < 250


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SlideError, match=r"S_count\.csv is not a file"):
        read_counts(tmp_path / "S_count.csv")


def test_a_line_without_end_is_refused_before_memory_runs_out(refusal, monkeypatch):
    monkeypatch.setattr(dense_csv, "_LONGEST_LINE", 1 << 10)
    monkeypatch.setattr(dense_csv, "_BLOCK", 1 << 8)
    assert "line 3: the line is longer than" in refusal(',A\ns,1\n"' + "t\n" * 5000)
    assert "cannot be read as text: the line is longer" in refusal(",A" * 5000)


# --- Memory and start-up


def test_memory_is_that_of_the_result_whatever_the_length_of_the_file(tmp_path):
    row = ",".join(["0.0"] * 5000) + "\n"
    read = "from st1k4m.counts import read_counts; read_counts({!r})"
    peaks = []
    for rows in (10, 6000):
        path = tmp_path / f"S{rows}_count.csv"
        with path.open("w") as file:
            file.write("," + ",".join(f"g{n}" for n in range(5000)) + "\n")
            file.writelines(f"s{n},{row}" for n in range(rows))
        peaks.append(measure.run_python(read.format(str(path))).peak_mb)
    assert peaks[1] - peaks[0] < 40, "120 MB of text"


def run_copy(tmp_path, **environment):
    """Start a reader on a copy of the library; the process, which prints the total."""
    path = tmp_path / "S_count.csv"
    path.write_text(",A\ns,41\nt,1\n")
    code = f"from st1k4m.counts import read_counts; print(read_counts({str(path)!r}).matrix.sum())"
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_it_works_where_no_cache_can_be_written(tmp_path):
    library = tmp_path / "st1k4m"
    shutil.copytree(SCRIPTS / "st1k4m", library, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [library, *library.glob("*/")]:
        (folder / "__pycache__").touch()  # no folder of this name can be made, by root neither
    process = run_copy(tmp_path, PYTHONPATH=str(tmp_path), HOME="/dev/null")
    assert process.communicate()[0].strip() == "42"


@pytest.mark.slow
def test_several_jobs_may_start_with_an_empty_cache_at_once(tmp_path):
    environment = {
        "PYTHONPATH": str(SCRIPTS),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    processes = [run_copy(tmp_path, **environment) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == ["42"] * 3
    assert list((tmp_path / "cache").rglob("*.nbi"))
