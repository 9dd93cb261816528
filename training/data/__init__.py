"""From files to batches: sources of images and masks, the samples made of them, and the loader that reads ahead."""
