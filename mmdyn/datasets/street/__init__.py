"""A painted street: the scene behind ``mmdyn.datasets.street_clips``; numpy and OpenCV only."""
