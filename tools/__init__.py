"""Maintainers' programs: benchmarks, parity with torchvision, tables of models, training of the embedded weights."""
