"""Simulation of macromolecules, scenes, tilt series and boxes with known truth."""

from cryopipe.simulation.assemblies import AssemblySpec
from cryopipe.simulation.box_options import BoxOptions
from cryopipe.simulation.box_simulator import BoxSimulator, SimulatedBoxes
from cryopipe.simulation.maps import phantom_from_density, read_map, read_maps
from cryopipe.simulation.options import SimulationOptions
from cryopipe.simulation.output import write_tomogram
from cryopipe.simulation.phantoms import EXAMPLES, Phantom, phantom, stock_phantoms
from cryopipe.simulation.tomogram import (
    SimulatedTomogram,
    make_species,
    seed_for,
    simulate_tomogram,
)

__all__ = [
    "EXAMPLES",
    "AssemblySpec",
    "BoxOptions",
    "BoxSimulator",
    "Phantom",
    "SimulatedBoxes",
    "SimulatedTomogram",
    "SimulationOptions",
    "make_species",
    "phantom",
    "phantom_from_density",
    "read_map",
    "read_maps",
    "seed_for",
    "simulate_tomogram",
    "stock_phantoms",
    "write_tomogram",
]
