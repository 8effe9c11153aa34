"""Simulated macromolecules, scenes, tilt series and boxes, all with known truth."""

from cryopipe.simulation.assemblies import AssemblySpec
from cryopipe.simulation.boxes import BoxOptions, BoxSimulator, SimulatedBoxes
from cryopipe.simulation.phantoms import EXAMPLES, Phantom, phantom, stock_phantoms

__all__ = [
    "EXAMPLES",
    "AssemblySpec",
    "BoxOptions",
    "BoxSimulator",
    "Phantom",
    "SimulatedBoxes",
    "phantom",
    "stock_phantoms",
]
