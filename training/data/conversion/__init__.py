"""From the files of public data sets to COCO annotations: what the scripts in ``datasets/`` share."""
