"""Find the pixels of an image that show tissue."""

import numpy as np

# 8-bit HSV. Glass is never as saturated as this, so an image with tissue only is not split in two.
# The saturation of nearly black pixels (padding, a shadow) is meaningless.
_GLASS_SATURATION = 64
_BLACK_VALUE = 16


def tissue_mask(rgb: np.ndarray) -> np.ndarray | None:
    """Separate tissue from glass by colour: Otsu's threshold on the saturation of HSV.

    Parameters
    ----------
    rgb
        ``(h, w, 3)`` uint8; an image of the whole slide, a few hundred pixels wide.

    Returns
    -------
    numpy.ndarray or None
        ``(h, w)`` bool, true on tissue; None if the image is grey or evenly coloured: the 1st and
        99th percentiles of saturation (0 to 255) differ by less than 10.
    """
    import cv2

    hsv = cv2.cvtColor(cv2.medianBlur(np.ascontiguousarray(rgb), 5), cv2.COLOR_RGB2HSV)
    saturation = np.where(hsv[..., 2] < _BLACK_VALUE, 0, hsv[..., 1]).astype(np.uint8)
    low, high = np.percentile(saturation, (1, 99))
    if high - low < 10:
        return None
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return saturation > min(threshold, _GLASS_SATURATION)
