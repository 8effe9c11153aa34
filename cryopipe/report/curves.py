"""Charts of the training history and of the selection of the number of clusters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from cryopipe.report.charts import Line, line_chart, number_axis, whole_number_axis


def history_charts(history: pd.DataFrame) -> list[tuple[str, Markup]]:
    """Draw every numeric column of the learner's history against the first one."""
    numeric = history.select_dtypes("number")
    if len(numeric) < 1 or numeric.shape[1] < 2:
        return []
    steps = numeric.iloc[:, 0].to_numpy(float)
    charts = []
    for name in numeric.columns[1:]:
        values = numeric[name].to_numpy(float)
        if not np.isfinite(values).any():
            continue
        title = str(name).replace("_", " ")
        chart = line_chart(
            f"{title} over training",
            [Line(title, steps, values)],
            whole_number_axis(str(numeric.columns[0]).replace("_", " "), steps),
            number_axis("", values),
        )
        charts.append((title, chart))
    return charts


def selection_charts(selection: pd.DataFrame) -> list[tuple[str, Markup]]:
    """Draw the criteria for the number of clusters, and the agreement of two halves of the particles."""
    if "clusters" not in selection or len(selection) < 2:
        return []
    counts = selection["clusters"].to_numpy(float)
    across = whole_number_axis("number of clusters", counts)
    charts = []
    criteria = [(name, style) for name, style in (("icl", "second"), ("bic", "main")) if name in selection]
    if criteria:
        # In thousands, since the values are large and only their differences matter.
        lines = [
            Line(name.upper(), counts, selection[name].to_numpy(float) / 1000, s) for name, s in criteria
        ]
        height = number_axis("thousands", np.concatenate([line.y for line in lines]))
        title = "Criteria for the number of clusters (lower is better): BIC thick line, ICL thin line"
        charts.append((title, line_chart(title, lines, across, height)))
    if "stability" in selection and selection["stability"].notna().any():
        agreement = selection["stability"].to_numpy(float)
        title = "Agreement of two halves of the particles (adjusted Rand index)"
        line = Line("stability", counts, agreement)
        charts.append((title, line_chart(title, [line], across, number_axis("", agreement, [0.0, 1.0]))))
    return charts
