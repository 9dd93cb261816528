"""How well a model's masks find ground truth."""
