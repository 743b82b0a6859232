"""Data sets: Pascal VOC in the host's layout (`voc`), the generated `shapes` set, and their names (`registry`).

Importing this package loads none of them; `from yolo_qreg.data.shapes import ensure_shapes` is the way in.
"""
