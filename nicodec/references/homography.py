"""Homographies: what is seen through one, the one that fits, and how a file says it. In floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nicodec.container.drawn import SIDE
from nicodec.container.references import FARTHEST
from nicodec.latents.geometry import Array

Matrix = NDArray[np.float64]


def scaled(matrix: Matrix, times: float) -> Matrix:
    """A homography between pictures that are so many times as large."""
    return np.diag([times, times, 1]) @ matrix @ np.diag([1 / times, 1 / times, 1])


def warped(reference: Array, matrix: Matrix, shape: tuple[int, ...]) -> tuple[Array, NDArray[np.bool_]]:
    """The reference seen through a homography (bilinear, edges repeat), and where it is inside the reference."""
    height, width = reference.shape
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + np.float32(0.5)
    m = matrix.astype(np.float32)
    under = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    u = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / under - np.float32(0.5)
    v = (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / under - np.float32(0.5)
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    u, v = u.clip(0, width - 1), v.clip(0, height - 1)
    column, row = np.minimum(u.astype(np.int32), width - 2), np.minimum(v.astype(np.int32), height - 2)
    across, down, at, levels = u - column, v - row, row * width + column, reference.ravel()
    above = levels[at] * (1 - across) + levels[at + 1] * across
    below = levels[at + width] * (1 - across) + levels[at + width + 1] * across
    return above * (1 - down) + below * down, inside


def corners_of(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Of a plane: (4, 2), x and y."""
    height, width = shape
    return np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)


def apply(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2) through a homography."""
    over = points @ matrix[:, :2].T + matrix[:, 2]
    return over[:, :2] / over[:, 2:]


def fit(
    points: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], shape: tuple[int, ...],
    *, bent: bool,
) -> Matrix:  # fmt: skip
    """The homography (not `bent`: affine) from points to targets, by weighted least squares."""
    size = max(shape)
    centre = np.array([shape[1], shape[0]]) / 2
    own, to = (points - centre) / size, (targets - centre) / size
    one, none = np.ones(len(own)), np.zeros((len(own), 3))
    plain = np.column_stack([own, one])
    equations = [np.column_stack([plain, none, -to[:, :1] * own]), np.column_stack([none, plain, -to[:, 1:] * own])]
    rows, sides = np.concatenate(equations), np.concatenate([to[:, 0], to[:, 1]])
    if not bent:
        rows = rows[:, :6]
    root = np.sqrt(np.tile(weights, 2))
    ridge = 1e-6 * np.eye(rows.shape[1]) * root.max()
    start = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float64)[: rows.shape[1]]
    found = start + np.linalg.lstsq(
        np.concatenate([rows * root[:, None], ridge]),
        np.concatenate([(sides - rows @ start) * root, np.zeros(len(start))]), rcond=None,
    )[0]  # fmt: skip
    normal = np.append(np.append(found, np.zeros(8 - len(found))), 1).reshape(3, 3)
    to_normal = np.array([[1 / size, 0, -centre[0] / size], [0, 1 / size, -centre[1] / size], [0, 0, 1]])
    matrix = np.linalg.inv(to_normal) @ normal @ to_normal
    return np.asarray(matrix / matrix[2, 2])


def to_corners(matrix: Matrix, width: int, height: int) -> tuple[tuple[int, int], ...]:
    """How the file says a homography: where the corners of the picture's whole blocks go, in sixteenths of a pixel."""
    corners = corners_of((-(-height // SIDE) * SIDE, -(-width // SIDE) * SIDE))
    moved = np.rint(16 * (apply(matrix, corners) - corners)).clip(-FARTHEST, FARTHEST).astype(int)
    return tuple((x, y) for x, y in moved.tolist())
