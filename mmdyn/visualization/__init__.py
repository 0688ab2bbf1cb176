"""Pictures of what ran: executed blocks, predictions, panels and sheets."""

from mmdyn.visualization.blocks import draw_blocks, shade_cells
from mmdyn.visualization.density import density_map, draw_density
from mmdyn.visualization.hooks import BlockVisualizationHook
from mmdyn.visualization.panels import add_panel, add_title
from mmdyn.visualization.predictions import (
    draw_frame,
    draw_instances,
    draw_prediction,
    draw_semantic,
)
from mmdyn.visualization.sheets import compose_sheet
from mmdyn.visualization.videos import FilmWriter

__all__ = [
    "BlockVisualizationHook",
    "FilmWriter",
    "add_panel",
    "add_title",
    "compose_sheet",
    "density_map",
    "draw_blocks",
    "draw_density",
    "draw_frame",
    "draw_instances",
    "draw_prediction",
    "draw_semantic",
    "shade_cells",
]
