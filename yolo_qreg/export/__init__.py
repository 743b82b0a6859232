"""Weights to ship: plain .pt files, packed integer codes, and what a weight file is. Import its modules directly."""
