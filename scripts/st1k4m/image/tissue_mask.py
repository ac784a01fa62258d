"""Which pixels of a picture show tissue."""

import numpy as np

# 8 bit HSV: glass is never as saturated as this, so a picture that is all tissue is not split in
# two; and what is nearly black (padding, a shadow) has no saturation worth the name.
_GLASS_SATURATION = 64
_BLACK_VALUE = 16


def tissue_mask(rgb: np.ndarray) -> np.ndarray | None:
    """Tell tissue from glass by colour: Otsu's threshold on the saturation of HSV.

    Parameters
    ----------
    rgb
        ``(h, w, 3)`` uint8; a picture of the whole slide, some hundred pixels wide.

    Returns
    -------
    numpy.ndarray or None
        ``(h, w)`` bool, true on tissue; None if the picture cannot tell, because it is grey or
        evenly coloured (saturations of the 1st and 99th per cent of pixels are within 10 of 255).
    """
    import cv2

    hsv = cv2.cvtColor(cv2.medianBlur(np.ascontiguousarray(rgb), 5), cv2.COLOR_RGB2HSV)
    saturation = np.where(hsv[..., 2] < _BLACK_VALUE, 0, hsv[..., 1]).astype(np.uint8)
    low, high = np.percentile(saturation, (1, 99))
    if high - low < 10:
        return None
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return saturation > min(threshold, _GLASS_SATURATION)
