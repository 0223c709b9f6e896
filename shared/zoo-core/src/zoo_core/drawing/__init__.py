"""Images of what a model sees: boxes, masks, keypoints, flow and labels drawn on images, and grids of images.

The functions that torchvision's ``utils`` also has take the same arguments, and draw the same pixels on uint8 images,
except where no colour is given, and for boxes of four corners, whose lines have no gaps here. None changes its input.
"""

from zoo_core.drawing.annotations import draw_bounding_boxes, draw_keypoints, draw_segmentation_masks
from zoo_core.drawing.areas import paint_classes
from zoo_core.drawing.canvas import enlarged
from zoo_core.drawing.colors import Color, Colors, class_color, color_palette
from zoo_core.drawing.flow import draw_flow, flow_to_image
from zoo_core.drawing.grids import make_grid, save_image
from zoo_core.drawing.labels import draw_labels, overlay_labels
from zoo_core.drawing.objects import draw_objects
from zoo_core.drawing.sheets import Section, contact_page, contact_sheet

__all__ = [
    "Color",
    "Colors",
    "Section",
    "class_color",
    "color_palette",
    "contact_page",
    "contact_sheet",
    "draw_bounding_boxes",
    "draw_flow",
    "draw_keypoints",
    "draw_labels",
    "draw_objects",
    "draw_segmentation_masks",
    "enlarged",
    "flow_to_image",
    "make_grid",
    "overlay_labels",
    "paint_classes",
    "save_image",
]
