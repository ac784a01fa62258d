"""Compute features of a tile without a trained model: statistics of its colours and texture.

They describe little more than the stain, so a trained encoder should have better scores.
"""

import cv2
import numpy as np

#: A tile is first resized to this side in pixels, so its texture is measured at the same scale for
#: any size. A pixel of a tile of 112 um is then 1.75 um, about a third of a nucleus.
SIDE = 64
QUANTILES = (5, 25, 50, 75, 95)
#: Optical densities of haematoxylin and eosin in red, green and blue (Ruifrok and Johnston,
#: Anal. Quant. Cytol. Histol. 23:291, 2001), with the cross product of both as the third stain.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
#: Optical density of haematoxylin above which a pixel counts as nucleus, in three steps.
NUCLEAR = (0.3, 0.6, 0.9)
SCALES = 3

_CHANNELS = 6
DIMENSIONS = _CHANNELS * (2 + len(QUANTILES)) + len(NUCLEAR) + 3 * SCALES
TRANSFORM = f"resized to {SIDE} px; colours and densities scaled to about 0 to 1"


def embed(tiles: np.ndarray) -> np.ndarray:
    """Compute the features of tiles from their colours and texture.

    Parameters
    ----------
    tiles
        ``(n, h, w, 3)`` uint8 RGB.

    Returns
    -------
    numpy.ndarray
        ``(n, DIMENSIONS)`` float32, for each tile alone: mean, deviation and quantiles of red,
        green, blue, saturation, haematoxylin and eosin; the fraction of pixels above each of
        `NUCLEAR`; at three scales, halved each time, mean and deviation of the gradient and the
        deviation of the Laplacian of the grey image. All are about 0 to 1.
    """
    features = np.empty((len(tiles), DIMENSIONS), np.float32)
    for row, tile in enumerate(tiles):
        features[row] = _describe(tile)
    return features


def _describe(tile: np.ndarray) -> np.ndarray:
    if tile.shape[:2] != (SIDE, SIDE):
        larger = min(tile.shape[:2]) > SIDE
        tile = cv2.resize(
            tile, (SIDE, SIDE), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR
        )
    pixels = tile.reshape(-1, 3)
    channels = np.empty((_CHANNELS, len(pixels)), np.float32)
    channels[:3] = pixels.T
    channels[:3] /= 255
    brightest, darkest = channels[:3].max(axis=0), channels[:3].min(axis=0)
    channels[3] = (brightest - darkest) / np.maximum(brightest, 1 / 255)
    density = _DENSITY[pixels.T]
    for stain in range(2):
        channels[4 + stain] = sum(_UNMIX[stain, i] * density[i] for i in range(3))
    ordered = np.sort(channels, axis=1)
    places = [round(quantile / 100 * (len(pixels) - 1)) for quantile in QUANTILES]
    colours = np.concatenate(
        [channels.mean(axis=1)[:, None], channels.std(axis=1)[:, None], ordered[:, places]], axis=1
    )
    nuclear = [(channels[4] > level).mean() for level in NUCLEAR]
    return np.concatenate([colours.ravel(), nuclear, _texture(tile)])


def _texture(tile: np.ndarray) -> list[float]:
    """Return gradient and Laplacian statistics of `SCALES` scales.

    Filters run on integers, because the last digit of OpenCV's floats depends on the memory
    alignment of a tile.
    """
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    found = []
    for _ in range(SCALES):
        across = cv2.Sobel(grey, cv2.CV_16S, 1, 0).astype(np.float32)
        down = cv2.Sobel(grey, cv2.CV_16S, 0, 1).astype(np.float32)
        gradient = np.sqrt(across * across + down * down) / (4 * 255)
        laplacian = cv2.Laplacian(grey, cv2.CV_16S).astype(np.float32) / 255
        found += [float(gradient.mean()), float(gradient.std()), float(laplacian.std())]
        side = len(grey) // 2
        grey = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    return found


def _unmixing() -> np.ndarray:
    """Return the matrix (2, 3) from optical densities in RGB to densities of the two stains."""
    stains = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    third = np.cross(*stains)
    full = np.vstack([stains, third / np.linalg.norm(third)])
    return np.linalg.inv(full.T)[:2].astype(np.float32)


_UNMIX = _unmixing()
#: Optical density of each of the 256 grey levels; black counts as level 1.
_DENSITY = -np.log10(np.maximum(np.arange(256), 1) / 255).astype(np.float32)
