def __getattr__(name):  # programs still import TileStore from here, its former module
    if name == "TileStore":
        from st1k4m.formats.tile_store import TileStore

        return TileStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
