"""napari-bioseg: segment images of the viewer on a bioseg server. napari.yaml says what it brings."""

__version__ = "0.1.0"
