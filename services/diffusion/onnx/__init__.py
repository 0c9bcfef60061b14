"""Models of pixels by ONNX Runtime: their graphs and what runs them."""
