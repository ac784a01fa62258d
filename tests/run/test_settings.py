"""The configuration: all faults are reported at once, in sentences."""

import copy
import dataclasses

import pytest
import yaml
from places import REPOSITORY
from st1k4m.errors import ConfigError
from st1k4m.expression.options import ExpressionOptions
from st1k4m.geometry.options import AlignOptions
from st1k4m.run import settings
from st1k4m.tiles.options import TileOptions

SCHEMA = REPOSITORY / "config/config.schema.yaml"


@pytest.fixture
def config() -> dict:
    return yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())


def test_shipped_configuration_is_sound(config):
    assert settings.check(config, SCHEMA) == []


def test_every_fault_is_listed_with_what_would_be_right(config):
    config["tiles"]["sise"] = 224
    config["tiles"]["size"] = "large"
    config["refresh"] = "yes"
    config["select"]["tech"] = "ST"
    config["unheard_of"] = 1

    faults = [fault.sentence for fault in settings.check(config, SCHEMA)]

    assert len(faults) == 5
    text = "\n".join(faults)
    assert "tiles.sise: no such option; did you mean tiles.size?" in text
    assert "tiles.size: found 'large', expected native or integer at least 1" in text
    assert "refresh: found 'yes', expected boolean" in text
    assert "select.tech: found 'ST', expected list" in text
    assert "unheard_of: no such option; known are dataset," in text


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("tiles", "extent", "112"),
        ("tiles", "extent", "112 um"),
        ("tiles", "fill", [0, 0, 256]),
        ("tiles", "fill", [0, 0]),
        ("tiles", "size", 0),
        ("tiles", "edge", "cut"),
        ("expression", "min_genes", -1),
        ("expression", "target_sum", "mean"),
        ("expression", "target_sum", 0),
        ("geometry", "max_outside", 1.5),
        ("geometry", "auto_correct", "on"),
        ("fetch", "tries", 0),
        ("exclude", "SLIDE", None),
        ("technologies", "visium", {}),
        ("technologies", "Visium", {"tiles": {"format": "png"}}),
    ],
)
def test_wrong_value_is_named(config, section, key, value):
    config[section][key] = value

    ((_, fault),) = settings.check(config, SCHEMA)

    assert fault.startswith(f"{section}.{key}")


def test_every_option_has_a_default_and_a_description(config):
    schema = yaml.safe_load(SCHEMA.read_text())
    documentation = (REPOSITORY / "config/README.md").read_text()
    for section, values in config.items():
        described = schema["properties"][section]
        if "$ref" in described:
            described = schema["$defs"][section]
        by_name = isinstance(described.get("additionalProperties"), dict)
        if by_name or section == "technologies" or not isinstance(values, dict):
            assert described["description"]
            assert f"`{section}`" in documentation
            continue
        assert set(values) == set(described["properties"])
        for option, content in described["properties"].items():
            assert section == "select" or content["description"]
            assert f"`{section}.{option}`" in documentation


@pytest.mark.parametrize(
    ("section", "options"),
    [("expression", ExpressionOptions), ("geometry", AlignOptions), ("tiles", TileOptions)],
)
def test_a_step_has_the_defaults_of_the_configuration(config, section, options):
    shipped = options.of_section(config[section])
    assert dataclasses.replace(shipped, **as_tuples(shipped)) == options()


def as_tuples(options):
    values = vars(options)
    return {name: tuple(values[name]) for name in values if isinstance(values[name], list)}


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (ExpressionOptions, "min_genes", -1),
        (ExpressionOptions, "n_top_genes", 0),
        (ExpressionOptions, "max_pct_mito", 101),
        (ExpressionOptions, "target_sum", "mean"),
        (ExpressionOptions, "target_sum", 0),
        (ExpressionOptions, "theta", 0),
        (ExpressionOptions, "compression", "zip"),
        (AlignOptions, "radius", "r"),
        (AlignOptions, "max_outside", 1.5),
        (TileOptions, "extent", "112"),
        (TileOptions, "size", 0),
        (TileOptions, "size", "full"),
        (TileOptions, "edge", "cut"),
        (TileOptions, "fill", (0, 0)),
        (TileOptions, "fill", (0, 0, 256)),
        (TileOptions, "upsample", "fail"),
        (TileOptions, "compression", "zip"),
        (TileOptions, "tissue_threshold", -0.1),
        (TileOptions, "max_pixels", 0),
    ],
)
def test_a_value_that_an_option_cannot_have_is_named(options, name, value):
    with pytest.raises(ValueError, match=rf"^{name} is .*, expected "):
        options(**{name: value})


def test_tiles_of_no_format_have_no_pixels():
    assert not TileOptions.of_section({"format": "none"}).pixels
    assert TileOptions.of_section({"format": "png"}).pixels
    assert TileOptions(extent="55.5um").micrometres == 55.5


def test_texts_of_the_command_line_become_what_they_spell(config):
    config["refresh"] = "true"
    config["tiles"] |= {"size": "224", "fill": ["255", "255", "255"], "extent": "112um"}
    config["expression"] |= {"max_pct_mito": "null", "target_sum": "1e4", "theta": "50.5"}
    config["geometry"]["max_outside"] = "half"

    settings.parse_texts(config, SCHEMA)

    assert config["refresh"] is True
    assert (config["tiles"]["size"], config["tiles"]["fill"]) == (224, [255, 255, 255])
    assert config["tiles"]["extent"] == "112um"
    assert config["expression"]["max_pct_mito"] is None
    assert config["expression"]["theta"] == 50.5
    assert [fault.sentence.split(": found")[0] for fault in settings.check(config, SCHEMA)] == [
        "expression.target_sum",
        "geometry.max_outside",
    ]


def test_options_of_a_technology_replace_only_what_they_name(config):
    before = copy.deepcopy(config)
    config["technologies"] = {"VisiumHD": {"expression": {"min_counts": 10}}}

    assert settings.options(config, "expression", "VisiumHD") == {
        **before["expression"],
        "min_counts": 10,
    }
    assert settings.options(config, "expression", "ST") == before["expression"]


def test_table_skips_comments_and_names_a_short_line(tmp_path):
    table = tmp_path / "overrides.tsv"
    table.write_text("\ufeff# how to fill\nslide\tswap\n\nA+b.c\tyes\n")
    assert settings.read_table(table) == [{"slide": "A+b.c", "swap": "yes"}]

    table.write_text("slide\tswap\nA yes\n")
    with pytest.raises(ConfigError, match=r"overrides.tsv, line 2: 1 fields.* has 2"):
        settings.read_table(table)
    with pytest.raises(ConfigError, match=r"gone.tsv: cannot be read"):
        settings.read_table(tmp_path / "gone.tsv")


OVERRIDES = "slide\tswap\tscale\tflip\tshift_x\tshift_y\n"
GEOMETRY = "applies_to\tlattice\tpitch_um\tspot_um\tdrawn_um\tsource\n"


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "own.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_table_that_lacks_columns_or_is_no_text_is_refused(table):
    with pytest.raises(ConfigError, match=r"own\.tsv, line 2: no column flip, shift_y; "):
        settings.read_overrides(table("#\nslide\tswap\tscale\tshift_x\nA\t\t\t\n"), ["A"])
    with pytest.raises(ConfigError, match=r"own\.tsv: no column applies_to, lattice, "):
        settings.read_geometry(table("# nothing\n"))
    for read in (settings.read_table, settings.read_geometry):
        with pytest.raises(ConfigError, match=r"own\.tsv: byte 2 is not UTF-8"):
            read(table(b"# \xff\n"))
    with pytest.raises(ConfigError, match=r"own\.tsv, line 1: field larger than"):
        settings.read_table(table("x" * 200_000))


def test_every_override_is_of_one_slide_of_the_catalogue(table):
    text = OVERRIDES + "".join(
        f"{slide}\tno\t1\tno\t0\t0\n" for slide in ("Human_1", "Humn_2", "Human_1", "?")
    )
    with pytest.raises(ConfigError) as error:
        settings.read_overrides(table(text), ["Human_1", "Human_2"])
    typo, twice, unknown = str(error.value).splitlines()
    assert "own.tsv, line 3: slide 'Humn_2' is not in the catalogue" in typo
    assert "did you mean Human_2" in typo
    assert "own.tsv, line 4: slide 'Human_1' is on line 2 already" in twice
    assert "own.tsv, line 5: slide '?' is not in the catalogue; correct or remove" in unknown

    (row,) = settings.read_overrides(table(OVERRIDES + "Human_2\tyes\t\t\t\t\n"), ["Human_2"])
    assert (row["slide"], row["swap"]) == ("Human_2", "yes")


@pytest.mark.parametrize("length", ["nan", "inf", "0", "-1", "1e6", "", "wide"])
def test_length_that_no_array_has_is_named_with_its_line(table, length):
    with pytest.raises(ConfigError) as error:
        settings.read_geometry(table(f"{GEOMETRY}ST\tsquare\t200\t{length}\t100\tbook\n"))
    assert f"own.tsv, line 2: spot_um is {length!r}, expected micrometres" in str(error.value)


def test_shipped_tables_are_sound():
    assert settings.read_geometry(REPOSITORY / "config/geometry.tsv")
    assert settings.read_overrides(REPOSITORY / "config/overrides.tsv", []) == []


def test_rows_of_a_study_go_before_those_of_its_technology():
    table = [
        {"applies_to": "ST", "pitch_um": "200"},
        {"applies_to": "GSE1", "pitch_um": "150"},
        {"applies_to": "GSE144239_", "pitch_um": "151"},
        {"applies_to": "GSE144239_", "pitch_um": "152"},
    ]

    def pitches(slide, tech):
        return [row["pitch_um"] for row in settings.rows_for(table, slide, tech)]

    assert pitches("GSE144239_GSM1", "ST") == ["151", "152"]
    assert pitches("GSE1_GSM1", "ST") == ["150"]
    assert pitches("ST_of_another", "ST") == ["200"]
    assert pitches("ST_of_another", "Visium") == []
