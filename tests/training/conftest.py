"""The collection that the tests of the training room read."""

import made_collection
import pytest


@pytest.fixture(scope="session")
def collection_folder(tmp_path_factory):
    """Make a collection; return its content and its folder, see `made_collection`."""
    return made_collection.make_collection(tmp_path_factory.mktemp("collection") / "results")
