"""What quantization does to a trained network: its noise, the theorem's terms, sharpness."""
