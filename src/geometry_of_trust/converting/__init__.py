"""Other people's files: safetensors, `.npy`, Parquet, vLLM's export; arrays in memory."""
