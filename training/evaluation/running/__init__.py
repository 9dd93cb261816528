"""The work on the images of a data set: by any number of processes, and kept so that it can go on."""
