"""Object detection, and the operators that it needs, in :mod:`zoo_detection.ops`."""

from zoo_detection import ops

__all__ = ["ops"]
