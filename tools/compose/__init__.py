"""Data sets to train and evaluate every task on, composed from what lies on this machine; see README.md.

    python -m tools.compose KIND FOLDER [--seed 0] [--train N] [--val N] [--size PIXELS] [--processes N]

Each kind is a module that writes one sample at a time; what they share stands once:

- :mod:`~tools.compose.sources`: where garments and photographs lie, and who may be trained on which
- :mod:`~tools.compose.garments`: garments cut out of their images, in colour
- :mod:`~tools.compose.grounds`: what is behind them
- :mod:`~tools.compose.scenes`: many of them in an image, each with the mask of what is seen of it
- :mod:`~tools.compose.writing`: samples by number over processes, each from a generator of its own
"""
