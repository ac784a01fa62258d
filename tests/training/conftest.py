"""The collection that the tests of this room read."""

import made_collection
import pytest


@pytest.fixture(scope="session")
def collection_folder(tmp_path_factory):
    """Five slides of four studies; tiles of 16 and 24 px; one store compressed, one empty."""
    return made_collection.make_collection(tmp_path_factory.mktemp("collection") / "results")
