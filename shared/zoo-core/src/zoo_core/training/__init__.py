"""Training: recipes, the loop, augmentation."""
