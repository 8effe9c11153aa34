"""Pictures of arrays as data addresses (JPEG) for the HTML page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

AVERAGE_PIXELS = 160


def picture_address(picture: np.ndarray) -> str:
    """Return an 8-bit grey picture (y, x) as the data address of a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=80)
    content = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{content}"


def png_address(content: bytes) -> str:
    """Return the content of a PNG file as a data address."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def grey(values: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """Return values as 8-bit grey between two percentiles; a constant array becomes middle grey."""
    values = np.nan_to_num(np.asarray(values, np.float32))
    bottom, top = np.percentile(values, [low, high])
    if top <= bottom:
        bottom, top = values.min(), values.max()
    if top <= bottom:
        return np.full(values.shape, 128, np.uint8)
    return (np.clip((values - bottom) / (top - bottom), 0, 1) * 255).astype(np.uint8)


def central_slices(volume: np.ndarray) -> dict[str, str]:
    """Return the three central slices of a map as data addresses by the plane's name, with a common grey scale.

    The first letter of the plane's name is the horizontal axis, the second the vertical one, from the top left.
    """
    depth, height, width = volume.shape
    planes = {
        "xy": volume[depth // 2],
        "xz": volume[:, height // 2],
        "yz": volume[:, :, width // 2],
    }
    stack = grey(np.concatenate([np.ravel(plane) for plane in planes.values()]), 0.5, 99.8)
    addresses, start = {}, 0
    for name, plane in planes.items():
        picture = stack[start : start + plane.size].reshape(plane.shape)
        start += plane.size
        enlarged = Image.fromarray(picture).resize((AVERAGE_PIXELS, AVERAGE_PIXELS), Image.Resampling.BICUBIC)
        addresses[name] = picture_address(np.asarray(enlarged))
    return addresses
