"""Exceptions with messages for the user: about data, the configuration and transfers."""


class CatalogueError(Exception):
    """The catalogue cannot be made or read; the message gives the reason and what to do."""


class ConfigError(Exception):
    """The configuration or a table that it names is invalid; the message lists every fault."""


class TransferError(Exception):
    """The file cannot be downloaded; ``reason`` says why and ``hint`` what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason, hint)
        self.reason = reason
        self.hint = hint


class SlideError(Exception):
    """Data of one slide cannot be used; the error fails this slide only.

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
    """A product of an earlier run does not fit the others; it is removed and made again.

    Parameters
    ----------
    slide
        Name of the slide.
    path
        The product.
    why
        What does not fit: the end of the sentence that begins with the path.
    """

    def __init__(self, slide: str, path: str, why: str) -> None:
        super().__init__(slide, f"{path} {why}", "it was removed: run the same command again")
        self.path = path


class RunOverError(Exception):
    """A newer run began in this folder; a job of the earlier run must not write its products."""
