"""What can be wrong with a user's data, configuration or transfer, in words for people."""


class CatalogueError(Exception):
    """No catalogue can be had; the message says why and what to do."""


class ConfigError(Exception):
    """The configuration, or a table it names, cannot be used; the message lists every fault."""


class TransferError(Exception):
    """The file cannot be had; ``reason`` says why and ``hint`` what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason, hint)
        self.reason = reason
        self.hint = hint


class SlideError(Exception):
    """Data of one slide that cannot be used as it is; fails that slide and no other.

    Parameters
    ----------
    slide
        Name of the slide.
    what
        What is wrong and where: file, line or spot, what was found, what was expected.
    hint
        What the user can do about it.
    """

    def __init__(self, slide: str, what: str, hint: str) -> None:
        super().__init__(slide, what, hint)
        self.slide = slide
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.slide}: {self.what}\n  what to do: {self.hint}"


class StaleProductError(SlideError):
    """A product of an earlier run that does not fit the others; it is removed, and made again.

    Parameters
    ----------
    slide
        Name of the slide.
    path
        The product.
    why
        What does not fit, after the path.
    """

    def __init__(self, slide: str, path: str, why: str) -> None:
        super().__init__(slide, f"{path} {why}", "it was removed: run the same command again")
        self.path = path


class RunOverError(Exception):
    """Another run began in this folder: what a job of the earlier one makes is left out."""
