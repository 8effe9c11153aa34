"""Voxels of a tomogram as the filters read them: centred, clipped, with bright particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryopipe.files.opening import release_pages
from cryopipe.picking.filters import Block
from cryopipe.picking.parallel import Ranges, extent
from cryopipe.volume.padding import Region
from cryopipe.volume.statistics import grey_values


@dataclass(frozen=True)
class Source:
    """Input of the filters: a volume centred, clipped, with bright particles, and 0 at unknown voxels.

    Attributes
    ----------
    volume
        (z, y, x), of any number type; usually a memory map.
    median
        Median of the volume, which is subtracted.
    limit
        Magnitude at which the result is clipped.
    sign
        1 if particles are bright, else -1.
    device
        Device of the filters.
    region
        Which voxels are known.
    name
        Name of the tomogram in error messages.
    """

    volume: NDArray[Any]
    median: float
    limit: float
    sign: int
    device: torch.device
    region: Region
    name: str

    def block(self, ranges: Ranges) -> Block:
        """Return the voxels of `ranges` (start, stop per axis z, y, x; also beyond the faces) in single precision."""
        spans = [
            (min(max(a, 0), n), max(min(b, n), 0))
            for (a, b), n in zip(ranges, self.volume.shape, strict=True)
        ]
        inside = tuple(slice(a, max(a, b)) for a, b in spans)
        place = tuple(slice(s.start - a, s.stop - a) for s, (a, _) in zip(inside, ranges, strict=True))
        values = torch.zeros(extent(ranges), device=self.device)
        voxels = torch.from_numpy(grey_values(self.volume[inside], self.name)).to(self.device)
        release_pages(self.volume)
        voxels = voxels.sub_(self.median).mul_(self.sign).clamp_(-self.limit, self.limit)
        if self.region.whole:
            values[place] = voxels
            within = [torch.zeros(n, device=self.device) for n in values.shape]
            for factor, part in zip(within, place, strict=True):
                factor[part] = 1
            return Block(values, [within[0][:, None, None], within[1][None, :, None], within[2][None, None]])
        known = torch.zeros_like(values)
        if not voxels.numel():
            return Block(values, [known])
        z, y, x = (np.arange(part.start, part.stop) for part in inside)
        known[place] = torch.from_numpy(self.region.grid(z, y, x).astype(np.float32)).to(self.device)
        values[place] = voxels.mul_(known[place])
        return Block(values, [known])
