"""Convolution: an index pattern whose pairs share the weights of a small kernel."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import invalid


class Convolution:
    """Every pair of an image and a feature map that a convolution couples; the kernel is shared by all positions.

    A term of it in x and z, as w*x*z, is the sum over f, c, i and the offsets a of the kernel of

        w[f, c, a] * x[c, stride*i + a - padding] * z[f, i]

    so that the field on z is the cross-correlation of the image with the kernel (what neural networks call a
    convolution), and that on x its transpose. A parameter has the shape (maps, channels, \\*kernel); what would lie
    outside the image is left out.

    Parameters
    ----------
    image : array_like of int, shape (channels, \\*spatial)
        Coordinates of the network that stand for x.
    maps : array_like of int, shape (maps, \\*positions)
        Those that stand for z; positions = (spatial + 2 padding - kernel)//stride + 1 along every axis.
    kernel : int or tuple of int
        Its extent along every spatial axis.
    stride, padding : int
        Along all axes; the padding is of zeros, or of terms left out, which is the same.
    """

    def __init__(self, image: ArrayLike, maps: ArrayLike, kernel: Any, *, stride: int = 1, padding: int = 0) -> None:
        self.image, self.maps = _block("image", image), _block("maps", maps)
        axes = self.image.ndim - 1
        self.kernel: tuple[int, ...] = (int(kernel),)*axes if isinstance(kernel, (int, np.integer)) else tuple(kernel)
        for name, value, low in (("kernel", self.kernel, 1), ("stride", (stride,), 1), ("padding", (padding,), 0)):
            if not all(isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k >= low for k in value):
                raise invalid(f"{name} of Convolution", f"whole, at least {low}", repr(value))
        if len(self.kernel) != axes or self.maps.ndim - 1 != axes:
            came = f"{axes}, {self.maps.ndim - 1} and {len(self.kernel)} axes"
            raise invalid("maps of Convolution", "of as many spatial axes as image and kernel", came)
        self.stride, self.padding = int(stride), int(padding)
        self.spatial, self.positions = self.image.shape[1:], self.maps.shape[1:]
        wanted = tuple((n + 2*self.padding - k)//self.stride + 1
                       for n, k in zip(self.spatial, self.kernel, strict=True))  # fmt: skip
        if self.positions != wanted:
            raise invalid("maps of Convolution", f"of spatial shape {wanted}", f"shape {self.maps.shape}")
        both = np.intersect1d(self.image, self.maps)
        if both.size:
            raise invalid("maps of Convolution", "disjoint from image", f"{both[0]} in both")

    @property
    def rows(self) -> np.ndarray:
        """The coordinates of the image, 1-d."""
        return self.image.ravel()

    @property
    def columns(self) -> np.ndarray:
        """The coordinates of the maps, 1-d."""
        return self.maps.ravel()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the kernel, (maps, channels, *kernel)."""
        return (self.maps.shape[0], self.image.shape[0], *self.kernel)

    @functools.cached_property
    def windows(self) -> np.ndarray:
        """Where the kernel's entries read: positions in ``rows``, (channels*offsets, positions), -1 outside."""
        c, *rest = np.indices((*self.shape[1:], *self.positions)).reshape(1 + 2*len(self.kernel), -1)
        offsets, at = rest[: len(self.kernel)], rest[len(self.kernel) :]
        found, inside = c, np.ones(len(c), bool)
        for a, i, length in zip(offsets, at, self.spatial, strict=True):
            there = self.stride*i + a - self.padding
            inside &= (there >= 0) & (there < length)
            found = found*length + there
        return np.where(inside, found, -1).reshape(math.prod(self.shape[1:]), -1)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """All pairs (P, 2) of coordinates, and for each its position in the flat kernel."""
        entries, positions = self.windows.shape
        f, entry, at = np.nonzero(np.broadcast_to(self.windows >= 0, (self.shape[0], entries, positions)))
        rows, columns = self.rows[self.windows[entry, at]], self.columns[f*positions + at]
        return np.stack([rows, columns], 1), f*entries + entry

    def __repr__(self) -> str:
        kernel = " x ".join(map(str, self.kernel))
        return f"Convolution({self.image.shape[0]} to {self.maps.shape[0]} maps, kernel {kernel})"


def _block(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim < 2 or array.dtype.kind not in "iu" or not array.size or len(np.unique(array)) != array.size:
        must = "an array (maps, positions, ...) of distinct integers"
        raise invalid(f"{name} of Convolution", must, f"shape {array.shape}, {array.dtype}")
    return array.astype(np.int64)
