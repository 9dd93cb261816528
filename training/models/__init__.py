"""The networks: backbones, the pixel decoder, the mask decoder, and the reading and writing of their weights."""
