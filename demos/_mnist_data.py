"""Handwritten digits: all of MNIST from a file or from OpenML, or the small digits of scikit-learn."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .digits import load_images

KEYS = ("x_train", "x_test", "y_train", "y_test")


@dataclass(frozen=True)
class Digits:
    """Images (B, pixels) from 0 to 1 in single precision, their digits (B,), and where they come from."""

    train: np.ndarray
    test: np.ndarray
    train_digits: np.ndarray
    test_digits: np.ndarray
    source: str

    def first(self, count: int | None) -> Digits:
        """With so many images to train with; None: all."""
        return Digits(self.train[:count], self.test, self.train_digits[:count], self.test_digits, self.source)


def load(path: Path | str | None = None, fetch: bool = True) -> Digits:
    """The digits of a file; without one those of OpenML, or where they cannot be had scikit-learn's 8 x 8.

    Parameters
    ----------
    path : Path, optional
        A .npz file with ``x_train``, ``x_test`` (uint8, (B, 28, 28) or (B, pixels)) and ``y_train``, ``y_test``.
    fetch : bool
        Whether ``sklearn.datasets.fetch_openml`` is asked.
    """
    if path is not None:
        return _from_file(Path(path))
    if fetch:
        try:
            from sklearn.datasets import fetch_openml

            print("fetching MNIST from openml.org; it is kept for the next time", flush=True)
            images, digits = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff")
            return _digits(images[:60000], images[60000:], digits[:60000], digits[60000:], "MNIST (openml.org)")
        except ImportError:
            pass  # load_images says what to install
        except (OSError, ValueError) as error:
            print(f"MNIST cannot be fetched ({error}); a file can be given with --data")
    train, test, train_digits, test_digits = load_images()
    print("scikit-learn's 8 x 8 digits are read instead of MNIST" if fetch else "scikit-learn's 8 x 8 digits")
    small = (train.astype(np.float32), test.astype(np.float32))
    return Digits(*small, train_digits, test_digits, "8 x 8 digits (scikit-learn)")


def _from_file(path: Path) -> Digits:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"data must be a .npz file; {path} " + ("is none" if path.exists() else "does not exist"))
    with np.load(path, allow_pickle=False) as file:
        missing = [key for key in KEYS if key not in file]
        if missing:
            raise ValueError(f"data must hold {', '.join(KEYS)}; {path} has no {missing[0]}")
        train, test, train_digits, test_digits = (file[key] for key in KEYS)
    return _digits(train, test, train_digits, test_digits, path.name)


def _digits(train: Any, test: Any, train_digits: Any, test_digits: Any, source: str) -> Digits:
    images = [np.reshape(part, (len(part), -1)) for part in (train, test)]
    classes = [np.asarray(part).astype(np.int64) for part in (train_digits, test_digits)]
    for part, answer, name in zip(images, classes, ("train", "test"), strict=True):
        if not len(part) or answer.shape != (len(part),) or part.shape[1] != images[0].shape[1]:
            came = f"x_{name} {part.shape}, y_{name} {answer.shape}"
            raise ValueError(f"data must have a digit for every image, all of one size; got {came}")
        if part.min() < 0 or part.max() > 255 or answer.min() < 0 or answer.max() > 9:
            raise ValueError(f"data must be pixels from 0 to 255 and digits from 0 to 9; x_{name} or y_{name} are not")
    pixels = [(part/255).astype(np.float32) for part in images]
    return Digits(pixels[0], pixels[1], classes[0], classes[1], source)
