"""The one way from pixels to probabilities and embeddings.

predictor    what predicts: a network and all that must be known of it; start here
inputs       which images a command means, and their crops
lists        the files among them, one by one: a folder, files, or a list in Parquet
session      what every engine offers: crops to probabilities and embeddings
onnx_file    an engine without torch: ONNX Runtime, on a CPU
network      the other one: PyTorch, on any device
onnx_graph   makes the file of the first out of a network of the second
"""
