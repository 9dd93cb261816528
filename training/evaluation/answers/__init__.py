"""What gives the images of a data set their masks: a store, a results file, a model."""
