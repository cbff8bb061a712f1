"""The final model as one ONNX file: photographs in, the decision out, with nothing but onnxruntime."""
