"""The one exception a user's data can raise."""


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
