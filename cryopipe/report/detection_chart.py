"""Chart of the detection limit: recall, purity and resolution of added molecules against their mass."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image

from cryopipe.report.plots import Series, arranged, line_plot

PANELS = (("recall", "recall of a cluster", (0.0, 1.0)), ("purity", "purity of that cluster", (0.0, 1.0)),
          ("resolution", "resolution, A", ()))  # fmt: skip


def detection_chart(table: pd.DataFrame) -> Image.Image:
    """Draw the table of detection, one line per number of copies; x is the decimal logarithm of the mass in kDa."""
    known = table[np.isfinite(table["mass"])]
    row = []
    for name, title, include in PANELS:
        series = []
        for number, (copies, part) in enumerate(known.groupby("copies")):
            part = part.sort_values("mass")
            x, y = np.log10(part["mass"].to_numpy(float) / 1e3), part[name].to_numpy(float)
            series.append(Series(f"{copies} copies", x, y, number + 1))
        if series:
            row.append(line_plot(title, "log10 of the mass in kDa", title, series, include))
    return arranged([row]) if row else Image.new("RGB", (300, 40), "white")
