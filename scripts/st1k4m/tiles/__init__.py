def __getattr__(name):  # st1k4m.tiles.TileStore is an old place that programs still import from
    if name == "TileStore":
        from st1k4m.formats.tile_store import TileStore

        return TileStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
