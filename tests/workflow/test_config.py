"""A configuration that cannot be used ends with one message that lists every fault."""


def test_all_faults_in_one_message_without_traceback(tmp_path, run_workflow):
    done = run_workflow(
        tmp_path,
        "--config",
        "tiles={sise: 224, edge: cut}",
        "select={slides: [Demo_Breast_SX]}",
        "exclude={Nobody: unknown}",
    )
    assert done.returncode != 0
    assert "tiles.sise: no such option; did you mean tiles.size?" in done.stdout
    assert "tiles.edge: found 'cut', expected one of pad, drop" in done.stdout
    assert (
        "'Demo_Breast_SX' is not in the catalogue; the catalogue has Demo_Breast_ST" in done.stdout
    )
    assert "'Nobody' is not in the catalogue" in done.stdout
    assert "Traceback" not in done.stdout


def test_unusable_slide_name_is_refused_with_its_row(make_dataset, tmp_path, run_workflow):
    folder = make_dataset([{"slide": "Demo_A", "spots": 60, "genes": 80}])
    meta = folder / "meta/meta_all_gene02122025.csv"
    meta.write_text(meta.read_text().replace('"Demo_A"', '"../Demo_A"'))
    done = run_workflow(tmp_path / "run", "--config", f"dataset={folder}")
    assert done.returncode != 0
    assert "../Demo_A" in done.stdout
    assert "line 2" in done.stdout
    assert "Traceback" not in done.stdout


def test_another_dataset_needs_another_directory_or_refresh(demo_copy, tmp_path, run_workflow):
    done = run_workflow(demo_copy, "--config", f"dataset={tmp_path}")
    assert done.returncode != 0
    assert "--directory" in done.stdout
    assert "refresh=true" in done.stdout
