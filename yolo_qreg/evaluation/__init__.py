"""COCO and VOC metrics of detections, and their paired bootstrap over images. Import its modules directly."""
