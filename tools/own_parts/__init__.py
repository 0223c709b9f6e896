"""Models that are built with parts of a user's, of our modules or of torchvision's, for `tools/parts_parity.py`."""
