"""The final model as one ONNX file: photographs in, the decision out, with nothing but onnxruntime."""

import os

# When it is imported, onnxruntime lays an identifier of this machine into the home, and reports to its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
