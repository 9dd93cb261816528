"""From what a network predicts to masks of the image: chosen first, made a few at a time, never all of them dense."""
