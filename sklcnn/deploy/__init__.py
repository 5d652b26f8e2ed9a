"""Fitted estimators as ONNX files, which run without Python or torch."""
